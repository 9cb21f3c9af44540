"""What the task `finetune` reads of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.data.sections import (
    BatchSettings,
    DenoisingSettings,
    HeldOutSettings,
    PadsSettings,
    TextsSettings,
)
from t5x_lite.evaluation.sections import TrainedScoredSettings
from t5x_lite.models.sections import TrainedModelSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.wiring.sections import (
    AdaptedConfig,
    ComparedConfig,
    ComparisonSettings,
    TrainingConfig,
    TrainSettings,
)


class DataSettings(TextsSettings, HeldOutSettings):
    """Rows, as texts to read and to write."""

    denoising: DenoisingSettings
    pads: PadsSettings


class OriginalComparedSettings(ComparisonSettings):
    """What the run is compared with, the model that it begins from among it."""

    original: Annotated[
        Literal["none", "before", "after"],
        "Whether the model that the run begins from is compared: not, as it was, or (as in lab 2) after training.",
    ]


class Config(ComparedConfig, AdaptedConfig, TrainingConfig):
    """Supervised training: full, partial, or of an adapter."""

    model: TrainedModelSettings
    data: DataSettings
    batch: BatchSettings
    train: TrainSettings
    loss: LossSettings
    evaluation: TrainedScoredSettings
    comparison: OriginalComparedSettings
