"""What the task `classifier` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from t5x_lite.data.sections import HeldOutSettings, RowsSettings
from t5x_lite.errors import InputError
from t5x_lite.evaluation.sections import OftenSettings, ShownSettings
from t5x_lite.models.sections import ModelSettings
from t5x_lite.sections import AtLeast, Count, CountOrNone, Expected, Name
from t5x_lite.train.sections import ThinnedStepsSettings
from t5x_lite.wiring.sections import ClassifierConfig


class DataSettings(HeldOutSettings):
    """Labeled texts."""

    transfer: RowsSettings
    labels: Annotated[
        Mapping[str, tuple[str, ...]],
        Expected("a mapping of labels to the values that mean them"),
        "The classes, and what the rows call them.",
    ]
    positive: Annotated[Name, "The label whose AUC is reported."]
    max_length: Annotated[int, AtLeast(2), "Tokens of a text, at most."]


class EvaluationSettings(ShownSettings, OftenSettings):
    """How often, how far texts are read, and what is shown."""

    max_length: Annotated[
        CountOrNone, "Tokens that are read of a text that is judged; 0: data.max_length."
    ]
    bootstrap_samples: Annotated[Count, "Resamples of the intervals of areas under curves."]


class Config(ClassifierConfig):
    """A text classifier."""

    model: ModelSettings
    data: DataSettings
    evaluation: EvaluationSettings
    train: ThinnedStepsSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.kind != "cross_entropy":
            raise InputError(
                f"config.loss.kind must be 'cross_entropy' for the task 'classifier', got {self.loss.kind!r}:"
                " preference pairs are the task 'reward'"
            )
        for name in ("margin", "center"):
            if getattr(self.loss, name):
                raise InputError(
                    f"config.loss.{name} is of the kind 'preference' and does nothing here; set it to 0"
                )
