"""What a config says of how outputs are scored."""

from __future__ import annotations

from typing import Annotated

from t5x_lite.sections import AtMost, Count, CountOrNone, Section

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


class ScoredSettings(ComparedSettings):
    """Generated texts, scored."""

    batch_tokens: BatchTokens
    mbr_candidates: Annotated[
        CountOrNone,
        "Samples a row of which the one that agrees most with the others is taken; 0: the decoder's own best.",
    ]


class TrainedScoredSettings(ScoredSettings, OftenSettings):
    """Generated texts, scored after training; the loss while training."""
