"""What the task `dpo` reads of a config."""

from __future__ import annotations

from typing import Annotated

from t5x_lite.data.sections import (
    HeldOutSettings,
    PairsOfBatchSettings,
    TextsSettings,
)
from t5x_lite.evaluation.sections import TrainedScoredSettings
from t5x_lite.models.sections import TrainedModelSettings
from t5x_lite.rl.sections import DPOSettings
from t5x_lite.wiring.sections import AdaptedConfig, ScoringConfig, TrainingConfig, TrainSettings


class DataSettings(TextsSettings, HeldOutSettings):
    """Preference pairs, as prompts and responses."""


class DPOTrainSettings(TrainSettings):
    """How long, and which parameters."""

    dropout: Annotated[bool, "Whether dropout acts while training."]


class Config(ScoringConfig, AdaptedConfig, TrainingConfig):
    """Direct preference optimization."""

    model: TrainedModelSettings
    data: DataSettings
    batch: PairsOfBatchSettings
    train: DPOTrainSettings
    loss: DPOSettings
    evaluation: TrainedScoredSettings
