"""What the task `reward` reads of a config."""

from __future__ import annotations

from typing import Annotated

from t5x_lite.data.sections import HeldOutSettings
from t5x_lite.errors import InputError
from t5x_lite.evaluation.sections import ComparedSettings, OftenSettings
from t5x_lite.models.sections import RewardModelSettings
from t5x_lite.sections import AtLeast, CountOrNone, Name
from t5x_lite.wiring.sections import ClassifierConfig


class DataSettings(HeldOutSettings):
    """Preference pairs."""

    template: Annotated[Name, "What is judged: {prompt} (or the row's fields) and {response}."]
    max_length: Annotated[int, AtLeast(2), "Tokens of a text, at most."]


class EvaluationSettings(ComparedSettings, OftenSettings):
    """How the order of held-out pairs is scored."""

    centred_rows: Annotated[
        CountOrNone, "Training pairs whose mean reward is taken out; 0: none is."
    ]


class Config(ClassifierConfig):
    """A reward model."""

    model: RewardModelSettings
    data: DataSettings
    evaluation: EvaluationSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.kind != "preference":
            raise InputError(
                f"config.loss.kind must be 'preference' for the task 'reward', got {self.loss.kind!r}: labels are the"
                " task 'classifier'"
            )
