"""What the task `classifier` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from t5x_lite.data.sections import HeldOutSettings, RowsSettings
from t5x_lite.evaluation.sections import OftenSettings, ShownSettings
from t5x_lite.models.sections import ModelSettings
from t5x_lite.sections import AtLeast, Expected, Name
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
    """How often, and what is shown."""


class Config(ClassifierConfig):
    """A text classifier."""

    model: ModelSettings
    data: DataSettings
    evaluation: EvaluationSettings
