"""What a config says of how outputs are scored."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.errors import InputError
from t5x_lite.sections import AtMost, Count, CountOrNone, Expected, Section

BatchTokens = Annotated[Count, "Encoder tokens of a batch while scoring, at most."]


class BootstrapSettings(Section):
    """Intervals."""

    bootstrap_samples: Annotated[Count, AtMost(1_000_000), "Draws behind each interval."]


class ShownSettings(Section):
    """What of it is shown."""

    samples: Annotated[CountOrNone, "Rows that the report shows with their outputs."]


class ComparedSettings(ShownSettings, BootstrapSettings):
    """What is scored, and shown."""


class OftenSettings(Section):
    """How often a run is evaluated while it trains."""

    every_steps: Annotated[Count, "Steps between two evaluations while training."]
    at_start: Annotated[
        bool,
        "Whether there is one before the first step, too: step 0 of metrics.jsonl and its curves.",
    ]


class BesideRougeSettings(Section):
    """Scores of texts beside ROUGE."""

    beside_rouge: Annotated[
        tuple[Literal["bleu", "chrf", "bertscore"], ...],
        Expected(
            "a tuple of 'bleu', 'chrf' and 'bertscore', each once", lambda v: len(set(v)) == len(v)
        ),
        "Further scores of the outputs: BLEU and chrF of the corpus (sacrebleu), BERTScore; (): ROUGE alone.",
    ]
    bertscore_source: Annotated[
        str,
        "The sentence encoder whose token vectors BERTScore compares: a directory or hub id; '': none.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if "bertscore" in self.beside_rouge and not self.bertscore_source:
            raise InputError(
                "evaluation.bertscore_source: 'bertscore' is in evaluation.beside_rouge and needs an encoder; give the"
                " directory or hub id of one, e.g. sentence-transformers/all-MiniLM-L6-v2"
            )


class GeneratedSettings(ComparedSettings):
    """Generated texts, scored by ROUGE."""

    batch_tokens: BatchTokens
    mbr_candidates: Annotated[
        CountOrNone,
        "Samples a row of which the one that agrees most with the others is taken; 0: the decoder's own best.",
    ]


class ScoredSettings(GeneratedSettings, BesideRougeSettings):
    """Generated texts, scored by ROUGE and what is wanted beside it."""


class TrainedScoredSettings(ScoredSettings, OftenSettings):
    """Generated texts, scored after training; the loss while training."""
