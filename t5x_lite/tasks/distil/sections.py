"""What the task `distil` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from t5x_lite.data.sections import (
    AskedTokenizerSettings,
    BucketsSettings,
    HeldOutSettings,
    TextsSettings,
)
from t5x_lite.errors import InputError
from t5x_lite.evaluation.sections import TrainedScoredSettings
from t5x_lite.models.sections import LoadedModelSettings, StudentModelSettings
from t5x_lite.optim.sections import LossSettings, TeachingSettings
from t5x_lite.sections import Expected, Share
from t5x_lite.wiring.sections import AdaptedConfig, ComparedConfig, TrainingConfig, TrainSettings


class DataSettings(TextsSettings, HeldOutSettings):
    """Rows, as texts to read and to write."""


class DistillationSettings(TeachingSettings, name="distillation"):
    """What of the teacher is learned."""

    cache: Annotated[
        bool,
        "Whether the teacher reads each target once, before the first step, and what it says (`top_k`) is kept in the"
        " workdir; otherwise it reads along, in every step.",
    ]
    targets: Annotated[
        Literal["labels", "teacher"],
        "Whose texts are the targets: the data's, or what the teacher writes, once (sequence level, Kim & Rush 2016).",
    ]
    writing: Annotated[
        Mapping[str, Any],
        Expected("a mapping"),
        "How the teacher writes targets: what differs from its own generation settings.",
    ]
    own_texts: Annotated[
        Share,
        "Share of the steps whose targets the student writes itself, as it is then (on-policy, Agarwal et al. 2024).",
    ]
    sampling: Annotated[
        Mapping[str, Any],
        Expected("a mapping"),
        "How the student writes those: generation settings; a text is at most as long as its batch's targets.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.own_texts and not self.teacher_weight:
            raise InputError(
                "distillation.own_texts: nothing but the teacher's distributions judges the student's own texts; set"
                " distillation.teacher_weight above 0"
            )
        if self.cache and not (self.top_k and self.teacher_weight):
            raise InputError(
                "distillation.cache: what is kept are the teacher's likeliest tokens; set distillation.top_k and"
                " distillation.teacher_weight above 0, or cache to False"
            )
        if self.cache and self.own_texts:
            raise InputError(
                "distillation.cache: the student's own texts are not there before the first step; set"
                " distillation.own_texts to 0, or cache to False"
            )


class Config(ComparedConfig, AdaptedConfig, TrainingConfig):
    """A student, and the teacher that it learns from."""

    model: StudentModelSettings
    teacher: LoadedModelSettings
    tokenizer: AskedTokenizerSettings  # type: ignore[assignment]  # none is trained: "model" is the teacher's
    data: DataSettings
    batch: BucketsSettings
    train: TrainSettings
    distillation: DistillationSettings
    loss: LossSettings
    evaluation: TrainedScoredSettings
