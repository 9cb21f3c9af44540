"""Configs by what they have in common: sections that several tasks declare, and what the wiring reads of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from t5x_lite.data.sections import RowsOfBatchSettings, TokenizerSettings
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.sections import ModelSettings, QuantizableModelSettings
from t5x_lite.optim.sections import OptimizerSettings, ScheduleSettings
from t5x_lite.parallel.sections import MeshSettings
from t5x_lite.params.sections import AdapterSection, TrainedSettings
from t5x_lite.rl.sections import (
    CriticSettings,
    JudgeSettings,
    PPORunSettings,
    ReferenceSettings,
    Rewards,
    ToxicitySettings,
)
from t5x_lite.sections import Config, Expected, Name, Pairs, Published, RowNumbers, Section
from t5x_lite.train.sections import (
    CheckpointSettings,
    DivergenceSettings,
    Judgement,
    LoggingSettings,
    StepsSettings,
    StopAfter,
    StopOnPreemption,
    check_best_is_saved,
)

Generation = Annotated[
    GenerationSettings, "How texts are decoded, in the names of transformers.GenerationConfig."
]
Overrides = Annotated[
    Mapping[str, Any],
    Expected("a mapping"),
    "What differs from the model's own generation settings, in the names of transformers.GenerationConfig.",
]


class TrainSettings(TrainedSettings, StepsSettings):
    """How long, and which parameters."""


class TokenizedConfig(Config):
    """A model and its tokenizer. model: `source` is read, where the tokenizer is the model's."""

    model: Any
    tokenizer: TokenizerSettings


class OptimizedConfig(Config):
    """Anything with an optimizer. What is read: of model `dtype`, of train `steps`, of batch `accumulation`."""

    model: Any
    train: Any
    batch: Any
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    mesh: MeshSettings


class TrainingConfig(TokenizedConfig, OptimizedConfig):
    """Supervised training. data, evaluation: the task's own; of evaluation `every_steps` and `at_start` are read."""

    data: Any
    checkpoint: CheckpointSettings
    divergence: DivergenceSettings
    stop_after: StopAfter
    stop_on_preemption: StopOnPreemption
    evaluation: Any
    logging: LoggingSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        check_best_is_saved(self.checkpoint, self.evaluation.every_steps)


class AdaptedConfig(Config):
    """Training of a model in part, or beside an adapter. train: `trainable` and `frozen_dtype` are read."""

    train: Any
    adapter: AdapterSection


class AlgorithmConfig(AdaptedConfig):
    """PPO: its numbers, and the policy with what stands beside it."""

    model: Any
    generation: Any
    ppo: PPORunSettings
    reference: ReferenceSettings
    critic: CriticSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ppo.advantage != "gae" and self.critic.kind == "separate":
            raise InputError(
                f"config.critic.kind 'separate' does nothing with config.ppo.advantage {self.ppo.advantage!r}, which"
                " has no critic; leave it at 'trunk'"
            )


class JudgedConfig(Config):
    """What scores the responses of PPO: what is learned from, and what measures it."""

    rewards: Rewards
    toxicity: ToxicitySettings
    judges: Mapping[str, JudgeSettings]


class GeneratingConfig(Config):
    """Texts are generated. model: `source` is read; evaluation: `mbr_candidates`."""

    model: Any
    evaluation: Any
    generation: Overrides

    FREE: ClassVar[tuple[str, ...]] = (*Config.FREE, "generation")


class ScoringConfig(GeneratingConfig, TokenizedConfig):
    """Generated texts, scored. data: `target` and `cut_field` are read."""

    model: QuantizableModelSettings
    data: Any
    mesh: MeshSettings
    published: Published

    FREE: ClassVar[tuple[str, ...]] = (*GeneratingConfig.FREE, "published")


class ComparisonSettings(Section):
    """What the run is compared with."""

    name: Annotated[Name, "What the report calls this run."]
    runs: Annotated[
        Pairs, "Other runs by name: a workdir, or 'train:CONFIG.py', which is trained first."
    ]
    rows: Annotated[RowNumbers, "Rows that are shown side by side."]


class ComparedConfig(ScoringConfig):
    """Generated texts, scored beside those of other runs. data: `evaluation` is read, too; evaluation:
    `bootstrap_samples`."""

    evaluation: Any
    comparison: ComparisonSettings

    FREE: ClassVar[tuple[str, ...]] = (*ScoringConfig.FREE, "comparison")


class ClassifierConfig(TrainingConfig):
    """A text classifier or reward model. data, evaluation: the task's own; `data.max_length` is read."""

    model: ModelSettings
    batch: RowsOfBatchSettings
    train: StepsSettings
    loss: Judgement
