"""ROUGE as an `evaluate.Metric` that needs no download (`evaluate.load("rouge")` fetches a script and fails offline).

A file of its own because importing `evaluate` takes seconds that `evaluation.rouge` should not cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from t5x_lite.evaluation import rouge

_CITATION = """@inproceedings{lin-2004-rouge,
    title = "{ROUGE}: A Package for Automatic Evaluation of Summaries",
    author = "Lin, Chin-Yew", booktitle = "Text Summarization Branches Out", year = "2004",
    url = "https://aclanthology.org/W04-1013"}"""


class Rouge(evaluate.Metric):
    """`evaluate`'s `rouge` with a plain mean: `Rouge().compute(predictions=..., references=...)`.

    References are strings, or lists of strings (the best F-measure counts). As in `evaluate`, a newline ends a
    sentence for rougeLsum: pass texts through `rouge.split_sentences` first. Predictions are held in memory, not in
    `evaluate`'s cache folder, so nothing is written and processes cannot wait for each other's locks.

    Example:
        >>> scores = Rouge().compute(predictions=["a cat sat"], references=["a cat sat down"], use_stemmer=True)
        >>> round(scores["rouge1"], 4)
        0.8571
    """

    def __init__(self, config_name: str | None = None):
        super().__init__(config_name, keep_in_memory=True, seed=0)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="ROUGE-1/2/L/Lsum F-measures by rouge_score; a corpus score is the mean of its rows.",
            citation=_CITATION,
            inputs_description=(
                "predictions: list of texts. references: list of texts, or of lists of texts. "
                "rouge_types: which of rouge1, rouge2, rougeL, rougeLsum. "
                "use_aggregator: the mean (True) or one score a row (False). "
                "use_stemmer: Porter-stem words longer than three characters."
            ),
            features=[
                datasets.Features(predictions=text, references=datasets.Sequence(text)),
                datasets.Features(predictions=text, references=text),
            ],
            reference_urls=["https://github.com/google-research/google-research/tree/master/rouge"],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str] | Sequence[Sequence[str]],
        rouge_types: Sequence[str] = rouge.ROUGE_TYPES,
        use_aggregator: bool = True,
        use_stemmer: bool = False,
    ) -> dict[str, float] | dict[str, list[float]]:
        rows = rouge.score_rows(
            predictions, references, use_stemmer=use_stemmer, rouge_types=rouge_types
        )
        if use_aggregator:
            return {kind: float(scores.mean()) for kind, scores in rows.items()}
        return {kind: scores.tolist() for kind, scores in rows.items()}
