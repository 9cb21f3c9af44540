"""What a config says of a run that trains: how long, what a classifier learns, what is kept and logged."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.sections import Amount, Count, Fraction, Section, Share


class StepsSettings(Section):
    """How long."""

    steps: Annotated[Count, "Updates of the whole run."]


class CheckpointSettings(Section):
    """What a run goes on from."""

    every_steps: Annotated[Count, "Steps between two checkpoints."]
    keep: Annotated[Count, "How many of the latest are kept."]


class LoggingSettings(Section):
    """What is logged."""

    every_steps: Annotated[
        Count, "Steps between two lines of metrics.jsonl; each is of its own step alone."
    ]
    tensorboard: Annotated[bool, "Whether TensorBoard gets them, too."]


class Judgement(Section, name="loss"):
    """What a classifier or reward model learns."""

    kind: Annotated[
        Literal["cross_entropy", "preference"],
        "Labels, or pairs: -log sigmoid(r_chosen - r_rejected - margin), Bradley-Terry.",
    ]
    margin: Annotated[
        Amount,
        "By how much the chosen response should be better at least (Touvron et al. 2023, arXiv:2307.09288).",
    ]
    center: Annotated[
        Amount,
        "Weight of (r_chosen + r_rejected)^2, which keeps rewards around 0 (Eisenstein et al. 2023, arXiv:2312.09244).",
    ]


class Thinning(Section, name="train"):
    """How often texts are thinned in training, so that a classifier leans on no single word."""

    token_dropout: Annotated[
        Fraction,
        "Share of a training text's tokens that are left out at random (Iyyer et al. 2015, section 3.1).",
    ]
    crop: Annotated[Share, "Share of the training texts of which a random span alone is read."]


WHOLE = Thinning(0.0, 0.0)


class ThinnedStepsSettings(StepsSettings, Thinning):
    """How long, and how often texts are thinned."""
