"""What the task `finetune` reads of a config."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from t5x_lite.data.sections import (
    BatchSettings,
    DenoisingSettings,
    PadsSettings,
    SplitsSettings,
    TextsSettings,
)
from t5x_lite.evaluation.sections import TrainedScoredSettings
from t5x_lite.models.sections import TrainedModelSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.sections import Name, Pairs, RowNumbers, Section
from t5x_lite.wiring.sections import AdaptedConfig, ScoringConfig, TrainingConfig, TrainSettings


class DataSettings(TextsSettings, SplitsSettings):
    """Rows, as texts to read and to write."""

    denoising: DenoisingSettings
    pads: PadsSettings


class ComparisonSettings(Section):
    """What the run is compared with."""

    name: Annotated[Name, "What the report calls this run."]
    original: Annotated[
        Literal["none", "before", "after"],
        "Whether the model that the run begins from is compared: not, as it was, or (as in lab 2) after training.",
    ]
    runs: Annotated[
        Pairs, "Other runs by name: a workdir, or 'train:CONFIG.py', which is trained first."
    ]
    rows: Annotated[RowNumbers, "Rows that are shown side by side."]


class Config(ScoringConfig, AdaptedConfig, TrainingConfig):
    """Supervised training: full, partial, or of an adapter."""

    model: TrainedModelSettings
    data: DataSettings
    batch: BatchSettings
    train: TrainSettings
    loss: LossSettings
    evaluation: TrainedScoredSettings
    comparison: ComparisonSettings

    FREE: ClassVar[tuple[str, ...]] = (*ScoringConfig.FREE, "comparison")
