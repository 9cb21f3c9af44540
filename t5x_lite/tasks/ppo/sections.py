"""What the task `ppo` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from t5x_lite import sections
from t5x_lite.data.sections import HeldOutSettings, References, TextsSettings
from t5x_lite.errors import InputError
from t5x_lite.evaluation.sections import ComparedSettings, OftenSettings
from t5x_lite.models.sections import QuantizableModelSettings
from t5x_lite.parallel.sections import MeshSettings
from t5x_lite.params.sections import TrainedSettings
from t5x_lite.rl.sections import RolloutSettings
from t5x_lite.sections import Count, CountOrNone, Expected, Range
from t5x_lite.train.sections import (
    CheckpointSettings,
    DivergenceSettings,
    LoggingSettings,
    StopAfter,
    StopOnPreemption,
    check_best_is_saved,
)
from t5x_lite.wiring.sections import AlgorithmConfig, Generation, JudgedConfig, TokenizedConfig


class DataSettings(TextsSettings, HeldOutSettings):
    """Rows, as prompts."""

    target: References
    characters: Annotated[
        Range, "Rows whose `cut_field` has other lengths are left out; (): none is."
    ]


class EvaluationSettings(ComparedSettings, OftenSettings):
    """How the policy is measured, before and after."""

    rows_while_training: Annotated[CountOrNone, "Held-out rows measured while training; 0: none."]
    batch_size: Annotated[Count, "Rows of a batch while measuring."]
    draws: Annotated[Count, "Responses to a row, before and after."]
    best_of: Annotated[
        Count, "Responses of the policy before, of which the reward takes one; 1: not measured."
    ]


class Config(AlgorithmConfig, JudgedConfig, TokenizedConfig):
    """PPO against a reward."""

    mode: Annotated[Literal["fixed", "parity"], "As it should be, or with the quirks of lab 3."]
    model: QuantizableModelSettings
    train: TrainedSettings
    data: DataSettings
    rollout: RolloutSettings
    mesh: MeshSettings
    checkpoint: CheckpointSettings
    divergence: DivergenceSettings
    stop_after: StopAfter
    stop_on_preemption: StopOnPreemption
    evaluation: EvaluationSettings
    generation: Generation
    logging: LoggingSettings
    published: Annotated[
        Mapping[str, Mapping[str, float]],
        Expected("a mapping of names to numbers"),
        "Figures that others published, shown beside those of this run; {} for none.",
    ]

    # Not `generation`: it is how the rollouts are drawn that the policy learns from.
    # How a reward function is called decides no score.
    FREE: ClassVar[tuple[str, ...]] = (
        *(*sections.Config.FREE, "published", "judges"),
        *("rewards.*.retries", "rewards.*.wait_seconds", "rewards.*.timeout_seconds"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_best_is_saved(self.checkpoint, self.evaluation.every_steps)
        if self.checkpoint.keep_best and not self.evaluation.rows_while_training:
            raise InputError(
                "config.checkpoint.keep_best: config.evaluation.rows_while_training is 0, so that nothing tells a best"
            )
