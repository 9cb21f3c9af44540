"""What the task `architectures` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from t5x_lite.data.sections import (
    BucketsSettings,
    CutField,
    EncoderLength,
    SplitsSettings,
    Template,
    Truncation,
)
from t5x_lite.evaluation.sections import BatchTokens, ComparedSettings, OftenSettings
from t5x_lite.models.sections import ArchitectureSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.sections import Count, Name, Section
from t5x_lite.train.sections import StepsSettings
from t5x_lite.wiring.sections import TrainingConfig


class ComparedArchitecture(Section):
    """One of the models that are compared."""

    kind: Annotated[
        Literal["encoder_only", "encoder_decoder", "decoder_only"], "Which stacks it has."
    ]
    layers: Annotated[Count, "Layers of each stack."]


class DataSettings(SplitsSettings):
    """Texts, and what is to be told of them."""

    template: Template
    label: Annotated[Name, "The field that is to be told."]
    encoder_length: EncoderLength
    truncation: Truncation
    cut_field: CutField


class EvaluationSettings(ComparedSettings, OftenSettings):
    """How the classes that each model tells are scored."""

    batch_tokens: BatchTokens


class Config(TrainingConfig):
    """Architectures side by side."""

    model: ArchitectureSettings
    architectures: Mapping[str, ComparedArchitecture]
    data: DataSettings
    batch: BucketsSettings
    train: StepsSettings
    loss: LossSettings
    evaluation: EvaluationSettings
