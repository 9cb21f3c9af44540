"""Scores of generated texts beside ROUGE: BLEU and chrF of the corpus by sacrebleu, BERTScore by a local encoder.

BLEU and chrF are no means over rows: they are functions of counts (of n-grams that match, of lengths) summed over the
corpus. So the bootstrap draws rows with their counts, sums them, and scores the sums, as Koehn (2004) does; an interval
of the mean of sentences' scores would be one of another number.

Sources: Papineni et al. 2002 (BLEU); Popović 2015 (chrF); Post 2018, "A Call for Clarity in Reporting BLEU Scores"
(sacrebleu and its signatures); `bertscore` has its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.embedding.encoder import load_encoder
from t5x_lite.errors import InputError
from t5x_lite.evaluation.bertscore import bert_scores
from t5x_lite.evaluation.intervals import Bootstrap, percentile_interval, resampled_totals
from t5x_lite.evaluation.sections import BesideRougeSettings
from t5x_lite.parallel.sharing import share_out

# (predictions, references) -> numbers of each row, whose sums are all that a score needs
Statistics = Callable[[Sequence[str], Sequence[str]], Sequence[Sequence[float]]]


@dataclasses.dataclass(frozen=True)
class CorpusMetric:
    """A score of a whole corpus, by sums over its rows.

    names: of what it gives, the first being the score and the others its parts.
    statistics: of each row, [rows, statistics].
    scores: float64 [statistics], summed -> one number a name, between 0 and 1.
    described: by what and how it was computed (sacrebleu's signature); asked for after the statistics.

    A mean over rows is one whose sums are of a number a row, and of ones:

    >>> exact = CorpusMetric(
    ...     ("exact match",),
    ...     lambda outputs, references: [(a == b, 1) for a, b in zip(outputs, references, strict=True)],
    ...     lambda totals: [float(totals[0] / totals[1])],
    ...     lambda: "texts that are equal",
    ... )
    >>> outputs, references = ["yes", "no"], ["yes", "yes"]
    >>> found = score_beside({"exact": exact}, outputs, references, {}, Bootstrap(99, 0.95, 0), np.arange(2))
    >>> found["beside_rouge"]["exact"]["score"]["mean"]
    0.5
    """

    names: tuple[str, ...]
    statistics: Statistics
    scores: Callable[[np.ndarray], Sequence[float]]
    described: Callable[[], str]


def load_metrics(settings: BesideRougeSettings) -> dict[str, CorpusMetric]:
    """The metrics that `evaluation.beside_rouge` names, by name; BERTScore's encoder is loaded.

    Raises:
      InputError: no encoder at `evaluation.bertscore_source`.
    """
    return {name: _load(name, settings.bertscore_source) for name in settings.beside_rouge}


def check_metrics(settings: BesideRougeSettings) -> None:
    """Refuses what `load_metrics` would, before a run has trained and generated what is to be scored.

    Raises:
      InputError: as `load_metrics`.
    """
    load_metrics(settings)


def _load(name: str, encoder: str) -> CorpusMetric:
    if name == "bertscore":
        return _bertscore(encoder)
    # Not above: it is not needed where nobody asks for it.
    from sacrebleu.metrics import BLEU, CHRF

    if name == "bleu":
        return _of_sacrebleu(
            BLEU(force=True), "BLEU"
        )  # force: no warning of texts with apart full stops
    return _of_sacrebleu(CHRF(), "chrF2")


def _of_sacrebleu(metric: Any, name: str) -> CorpusMetric:
    """metric: a `sacrebleu.metrics.base.Metric`, whose two steps these are; its `corpus_score` takes both at once, and
    its own bootstrap knows no groups."""

    def statistics(predictions: Sequence[str], references: Sequence[str]) -> Any:
        return metric._extract_corpus_statistics(predictions, [references])

    def scores(totals: np.ndarray) -> list[float]:
        return [metric._compute_score_from_stats(totals.tolist()).score / 100]

    def described() -> str:
        metric.num_refs = 1  # which a process that was given no rows did not see
        return f"sacrebleu, {metric.get_signature()}"

    return CorpusMetric((name,), statistics, scores, described)


def _bertscore(source: str) -> CorpusMetric:
    try:
        encoder = load_encoder(source)
    except InputError as error:
        raise InputError(f"config.evaluation.bertscore_source: {error}") from error

    def statistics(predictions: Sequence[str], references: Sequence[str]) -> Any:
        rows = bert_scores(encoder, predictions, references)
        return np.column_stack([rows[:, [2, 0, 1]], np.ones(len(rows))]).tolist()

    def scores(totals: np.ndarray) -> list[float]:
        return (totals[:-1] / totals[-1]).tolist()

    names = ("BERTScore F1", "precision", "recall")
    described = f"greedy matching of the last hidden states of {source}, without idf"
    return CorpusMetric(names, statistics, scores, lambda: described)


def score_beside(
    metrics: Mapping[str, CorpusMetric],
    predictions: Sequence[str],
    references: Sequence[str],
    opponents: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
    groups: np.ndarray,
) -> dict[str, Any]:
    """{"beside_rouge": {metric: ...}}, to stand in a result of `comparison.score_outputs`; {} without metrics.

    Of each metric, JSON-ready, scores between 0 and 1, an interval being {"mean", "low", "high"}:
        name, described: what reports call it, and how it was computed
        score: interval of the corpus's score; parts: {name: interval} of what it is made of, if anything
        baselines: {name: score};  differences: {name: interval of ours minus theirs, the same rows drawn of both}

    Each row counts against its own reference, as for ROUGE. Of several processes all must call this, with the same
    texts; they share out the rows.

    Args:
      opponents: {name: a text a row} (`comparison.baseline_texts`).
      groups: int [rows], equal for rows that are drawn together.
    """
    found = {}
    for key, metric in metrics.items():
        ours = _rows(metric, predictions, references)
        value, drawn = _scored(metric, ours, bootstrap, groups)
        intervals = [
            dataclasses.asdict(percentile_interval(value[place], drawn[:, place], bootstrap))
            for place in range(len(metric.names))
        ]
        others = {
            name: _scored(metric, _rows(metric, texts, references), bootstrap, groups)
            for name, texts in opponents.items()
        }
        found[key] = {
            "name": metric.names[0],
            "described": metric.described(),
            "score": intervals[0],
            "parts": dict(zip(metric.names[1:], intervals[1:], strict=True)),
            "baselines": {name: theirs[0] for name, (theirs, _) in others.items()},
            "differences": {
                name: dataclasses.asdict(
                    percentile_interval(
                        value[0] - theirs[0], drawn[:, 0] - drawn_too[:, 0], bootstrap
                    )
                )
                for name, (theirs, drawn_too) in others.items()
            },
        }
    return {"beside_rouge": found} if found else {}


def _rows(metric: CorpusMetric, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """float64 [rows, statistics]."""

    def of(own: slice) -> list[list[float]]:
        if own.start == own.stop:
            return []
        return [list(row) for row in metric.statistics(texts[own], references[own])]

    return np.array(share_out(len(texts), of), np.float64)


def _scored(
    metric: CorpusMetric, rows: np.ndarray, bootstrap: Bootstrap, groups: np.ndarray
) -> tuple[list[float], np.ndarray]:
    """The scores of the corpus, and of each resample, float64 [resamples, names]."""
    resampled = resampled_totals(rows, bootstrap, groups)
    drawn = np.array([metric.scores(totals) for totals in resampled])
    return list(metric.scores(rows.sum(axis=0))), drawn
