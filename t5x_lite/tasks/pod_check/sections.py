"""What the task `pod_check` reads of a config."""

from __future__ import annotations

from typing import Annotated, ClassVar

from t5x_lite.models.sections import CheckedModelSettings
from t5x_lite.optim.sections import LossSettings
from t5x_lite.pods.sections import CandidatesSettings, CheckedBatchSettings, Step
from t5x_lite.sections import Name
from t5x_lite.wiring.sections import (
    AlgorithmConfig,
    Generation,
    JudgedConfig,
    OptimizedConfig,
    TrainSettings,
)


class Config(AlgorithmConfig, JudgedConfig, OptimizedConfig):
    """A step, compiled for a slice. The sections of steps that are not compiled are there, and not read."""

    topology: Annotated[Name, "The slice, e.g. 'v5e:4x4', or 'cpu:8'."]
    step: Step
    search: Annotated[bool, "Whether `candidates` are tried, in place of the one step."]
    candidates: CandidatesSettings
    model: CheckedModelSettings
    train: TrainSettings
    batch: CheckedBatchSettings
    loss: LossSettings
    generation: Generation

    FREE: ClassVar[tuple[str, ...]] = (*OptimizedConfig.FREE, "generation")
