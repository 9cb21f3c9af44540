"""What the task `mixture` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from t5x_lite.data.sections import (
    BatchSettings,
    DecoderLength,
    EncoderLength,
    MixedDenoisingSettings,
    MixedTaskSettings,
    Truncation,
)
from t5x_lite.evaluation.sections import GeneratedSettings, OftenSettings
from t5x_lite.models.sections import TrainedModelSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.sections import AtLeast, CountOrNone, Name, Section
from t5x_lite.wiring.sections import AdaptedConfig, GeneratingConfig, TrainingConfig, TrainSettings


class DataSettings(Section):
    """Tasks, and how they are mixed."""

    tasks: Mapping[str, MixedTaskSettings]
    temperature: Annotated[
        float,
        AtLeast(1),
        "Rates by size are taken to the power 1 / temperature: the larger, the more alike.",
    ]
    maximum: Annotated[CountOrNone, "A task's size counts up to it; 0: as it is."]
    denoising: MixedDenoisingSettings
    encoder_length: EncoderLength
    decoder_length: DecoderLength
    truncation: Truncation


class EvaluationSettings(GeneratedSettings, OftenSettings):
    """How tasks are scored."""

    task: Annotated[
        Name, "The one whose loss is computed while training; all are scored at the end."
    ]


class Config(GeneratingConfig, AdaptedConfig, TrainingConfig):
    """Training on a mixture of tasks."""

    model: TrainedModelSettings
    data: DataSettings
    batch: BatchSettings
    train: TrainSettings
    loss: LossSettings
    evaluation: EvaluationSettings
