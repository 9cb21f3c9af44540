"""What the task `pretrain` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from t5x_lite.data.sections import (
    BatchSettings,
    DecoderLength,
    DenoiserSettings,
    PackedLength,
    SplitsSettings,
)
from t5x_lite.evaluation.sections import BatchTokens, OftenSettings, ShownSettings
from t5x_lite.models.sections import PretrainedModelSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.sections import Name
from t5x_lite.train.sections import StepsSettings
from t5x_lite.wiring.sections import TrainingConfig


class DataSettings(SplitsSettings):
    """Texts, and how they are corrupted."""

    field: Annotated[Name, "The field of the rows that holds the text."]
    denoisers: Mapping[str, DenoiserSettings]
    encoder_length: PackedLength
    decoder_length: DecoderLength


class EvaluationSettings(ShownSettings, OftenSettings):
    """How held-out losses are computed."""

    batch_tokens: BatchTokens


class Config(TrainingConfig):
    """Pretraining by denoising."""

    model: PretrainedModelSettings
    data: DataSettings
    batch: BatchSettings
    train: StepsSettings
    loss: LossSettings
    evaluation: EvaluationSettings
