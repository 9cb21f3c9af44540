"""What a config says of a run that trains: how long, what a classifier learns, what is kept and logged."""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated, Literal

from t5x_lite.errors import InputError
from t5x_lite.sections import (
    Amount,
    Count,
    CountOrNone,
    Duration,
    Expected,
    Fraction,
    Name,
    Section,
    Share,
)

StopAfter = Annotated[
    Duration,
    "After which training stops in order, as at a signal, with exit status 75, from the program's start: minutes, or"
    " '1h30m'; '': never.",
]

StopOnPreemption = Annotated[
    bool,
    "Whether training stops in order, with exit status 75, when the metadata server of Google's cloud gives notice that"
    " the machine is about to be taken away.",
]


class StepsSettings(Section):
    """How long."""

    steps: Annotated[Count, "Updates of the whole run."]


class CheckpointSettings(Section, name="checkpoint"):
    """What a run goes on from."""

    every_steps: Annotated[Count, "Steps between two checkpoints."]
    keep: Annotated[Count, "How many of the latest are kept."]
    keep_every: Annotated[
        CountOrNone, "Those of every so-manieth step are kept for good; 0: none is."
    ]
    keep_best: Annotated[
        CountOrNone, "How many of the best by `best_metric` are kept beside; 0: none is."
    ]
    best_metric: Annotated[
        Name, "What tells the best: a number of an evaluation, as metrics.jsonl calls it."
    ]
    best_mode: Annotated[Literal["min", "max"], "Whether its least or its largest is best."]
    export: Annotated[
        Literal["last", "best"],
        "Which a run ends with: it is scored, and its model or adapter written.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.export == "best" and not self.keep_best:
            raise InputError(
                "checkpoint.export is 'best', and checkpoint.keep_best 0: keep 1 of them"
            )
        if self.keep_every % self.every_steps:
            raise InputError(
                f"checkpoint.keep_every is {self.keep_every}, and there is a checkpoint every {self.every_steps} steps:"
                " give a multiple of that"
            )


def check_best_is_saved(checkpoint: CheckpointSettings, evaluate_every: int) -> None:
    """Sees that what an evaluation finds best is there to be kept.

    Raises:
      InputError: there are evaluations at steps that are not saved.
    """
    if checkpoint.keep_best and evaluate_every % checkpoint.every_steps:
        raise InputError(
            "config.checkpoint.keep_best: not every step that is evaluated is saved, for config.evaluation.every_steps"
            f" is {evaluate_every}, and config.checkpoint.every_steps {checkpoint.every_steps}: make the first a"
            " multiple of the second"
        )


class LoggingSettings(Section, name="logging"):
    """What is logged."""

    every_steps: Annotated[
        Count, "Steps between two lines of metrics.jsonl; each is of its own step alone."
    ]
    tensorboard: Annotated[bool, "Whether TensorBoard gets them, too."]
    trackers: Annotated[
        tuple[Literal["wandb", "trackio"], ...],
        Expected("a tuple of 'wandb' and 'trackio', or ()"),
        "Services that get them, too: 'wandb' (Weights & Biases), 'trackio'; each is an extra of its name.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.trackers:
            if not _is_installed(name):
                raise InputError(
                    f"logging.trackers: {name} is not installed: pip install 't5x-lite[{name}]'"
                )


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    found = importlib.util.find_spec(package)
    # A folder of that name, which W&B leaves behind, is found as a package without a file.
    return found is not None and found.origin is not None


class DivergenceSettings(Section, name="divergence"):
    """When a run counts as diverged, and what is done then. A bad update is one that was skipped, since its loss or
    gradient was not finite. Weights that are not finite always end the run."""

    in_a_row: Annotated[CountOrNone, "Bad updates in a row that are a divergence; 0: none are."]
    window: Annotated[Count, "The last so many steps, for `in_window` and `spike`."]
    in_window: Annotated[CountOrNone, "Bad updates among them that are a divergence; 0: none are."]
    spike: Annotated[
        Amount,
        "A loss so many standard deviations above the mean of the window (and 0.1 above it) is a spike, which is told"
        " of; 0: none is.",
    ]
    spikes_count: Annotated[bool, "Whether a spike, too, is a bad update."]
    action: Annotated[
        Literal["stop", "skip", "roll_back"],
        "'stop' ends the run with exit status 3; 'roll_back' goes back to the last checkpoint, and on with other"
        " batches; 'skip' goes on, whatever is skipped.",
    ]
    rollbacks: Annotated[CountOrNone, "How often a run is rolled back; after that it stops."]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.in_window > self.window:
            raise InputError(
                f"divergence.in_window is {self.in_window}, and the window has {self.window} steps: that never comes"
            )
        if self.spikes_count and not self.spike:
            raise InputError(
                "divergence.spikes_count: divergence.spike is 0, so that nothing is one"
            )


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
