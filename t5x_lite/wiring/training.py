"""Training of a T5, wholly or in part, wired from a config: optimizer, step, and what a checkpoint holds of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from etils import epath
from jax.sharding import Mesh

from t5x_lite.data.pads import Batches
from t5x_lite.data.plan import Plan
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.evaluation.beside_rouge import check_metrics
from t5x_lite.optim.trainable import combine, partition_optimizer, trainable_part
from t5x_lite.params.gather import whole as on_host
from t5x_lite.params.overview import count
from t5x_lite.params.partition import join, separate
from t5x_lite.train.loop import Evaluate
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import cross_entropy
from t5x_lite.train.update import Objective, TrainStep, make_update
from t5x_lite.wiring.adaptation import Adaptation, adaptation_of, check_adaptation
from t5x_lite.wiring.model import Loaded, load_model
from t5x_lite.wiring.resume import States
from t5x_lite.wiring.scoring import check_generation, make_loss
from t5x_lite.wiring.sections import (
    AdaptedConfig,
    GeneratingConfig,
    OptimizedConfig,
    ScoringConfig,
    TrainingConfig,
)
from t5x_lite.wiring.supervised import Feed, optimizer_of, place_state, run_supervised
from t5x_lite.wiring.text import check_batch


def check_training(config: TrainingConfig, mesh: Mesh) -> None:
    """Refuses settings that contradict each other, before any data is read."""
    if isinstance(config, GeneratingConfig):
        check_generation(config)
    if isinstance(config, ScoringConfig):
        check_metrics(config.evaluation)
    if isinstance(config, AdaptedConfig):
        check_adaptation(config)
    optimizer_of(config)
    check_batch(config.batch, mesh)


def load_trainee(config: Any, vocabulary: Vocabulary, mesh: Mesh) -> tuple[Loaded, Adaptation]:
    """The model that a run begins from, and what is trained of it; nothing is compiled or read yet.

    config: a `TrainingConfig`, `AdaptedConfig` and `GeneratingConfig`.

    Raises:
      InputError: what the model cannot follow: `generation`, `adapter`, `train` or `optimizer` settings.
    """
    loaded = load_model(config.model, config.model.execution, vocabulary, mesh, config.seed)
    check_generation(config, loaded.model.config, vocabulary)
    adaptation = adaptation_of(config, loaded, mesh)
    state_of(config, loaded, mesh, adaptation)
    return loaded, adaptation


def state_of(
    config: OptimizedConfig, loaded: Loaded, mesh: Mesh, adaptation: Adaptation | None = None
) -> tuple[Callable[..., Any], Any]:
    """`supervised.place_state` of the model, or of what `adaptation` makes of it.

    Raises:
      InputError: as `place_state`.
    """
    labels = adaptation.labels if adaptation else None
    return place_state(
        _partitioned(optimizer_of(config)[0], labels),
        adaptation.params if adaptation else loaded.abstract,
        adaptation.adapters if adaptation else {},
        labels,
        mesh,
    )


def step_of(config: Any, loaded: Loaded, labels: Any) -> TrainStep:
    """The step of teacher forcing, not jitted: the sections `loss`, `optimizer`, `schedule` and `batch`."""
    return _step_by(config, cross_entropy(loaded.model, config.loss), labels)


def train(
    config: Any,
    loaded: Loaded,
    batches: Batches,
    evaluation: Plan,
    examples: str,
    mesh: Mesh,
    workdir: epath.Path,
    adaptation: Adaptation | None = None,
) -> TrainState:
    """`train_by` the cross-entropy of the `loss` section.

    config: a `TrainingConfig` whose `loss` is an `optim.sections.LossSettings`.
    evaluation: what `evaluation.every_steps` computes the loss of.
    """
    loss = make_loss(loaded.model, evaluation, mesh, config.loss.chunk)
    return train_by(
        cross_entropy(loaded.model, config.loss),
        lambda state, stopping: loss(state.params, stopping, state.adapters),
        config,
        loaded,
        (Feed(batches), examples),
        (mesh, workdir),
        adaptation,
    )


def train_by(
    objective: Objective,
    evaluate: Evaluate,
    config: TrainingConfig,
    loaded: Loaded,
    data: tuple[Feed, str],
    place: tuple[Mesh, epath.Path],
    adaptation: Adaptation | None,
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      objective: what is learned.
      evaluate: as `train.loop.run_loop` has it.
      data: what each step trains on, and what identifies the training examples: a run goes on only with those it began
        with.
      place: the mesh, and the workdir.
      adaptation: what is trained of the model, and its adapters; None: every parameter. Checkpoints hold the trainable
        part alone; a run that goes on makes the rest again, and sees that it is what it was.

    Returns:
      The last state.

    Raises:
      InputError, Stopped: as `supervised.run_supervised`.
    """
    mesh, _ = place
    feed, examples = data
    labels = adaptation.labels if adaptation else None
    make_state, abstract = state_of(config, loaded, mesh, adaptation)
    metadata = {"examples": examples}
    if adaptation is None or labels is None:
        states = States(lambda: make_state(loaded.make(), {}), abstract)
    else:
        begun = _Begun(adaptation)
        params, adapters = begun.trees()
        adaptation.frozen_fingerprint = adaptation.fingerprint_frozen(params)
        adaptation.begin = jax.tree.map(on_host, adapters)
        del params, adapters
        metadata["frozen"] = adaptation.frozen_fingerprint
        states = _states_of_a_part(lambda: make_state(*begun.trees()), abstract, begun, labels)
    step = _step_by(config, objective, labels)
    described = _described(loaded, adaptation)
    return run_supervised(config, step, states, feed, evaluate, metadata, described, place)


def _step_by(config: TrainingConfig, objective: Objective, labels: Any) -> TrainStep:
    optimizer, schedule = optimizer_of(config)
    return make_update(
        objective,
        _partitioned(optimizer, labels),
        schedule,
        labels=labels,
        accumulation=config.batch.accumulation,
    )


class _Begun:
    """The parameters and adapters before the first step."""

    def __init__(self, adaptation: Adaptation):
        self._adaptation = adaptation
        self._trees = adaptation.make()

    def trees(self) -> tuple[Any, Any]:
        """Both; made again where a state, or its steps, took their buffers: a run that is rolled back begins again."""
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(self._trees)):
            self._trees = self._adaptation.make()
        return self._trees


def _states_of_a_part(
    begin: Callable[[], TrainState], abstract: TrainState, begun: _Begun, labels: Any
) -> States:
    """States whose frozen parameters and constants no checkpoint holds."""

    def saved_part(state: TrainState) -> TrainState:
        params, adapters = separate(trainable_part(join(state.params, state.adapters), labels))
        return dataclasses.replace(state, params=params, adapters=adapters)

    def completed(part: TrainState) -> TrainState:
        trained = join(part.params, part.adapters)
        params, adapters = separate(combine(trained, join(*begun.trees())))
        return dataclasses.replace(part, params=params, adapters=adapters)

    return States(begin, abstract, saved_part, completed)


def _described(loaded: Loaded, adaptation: Adaptation | None) -> str:
    if adaptation is None or adaptation.labels is None:
        return f"{count(loaded.abstract):,} parameters"
    sizes = adaptation.sizes()
    return (
        f"{sizes['trainable parameters']:,} of {sizes['all parameters']:,} parameters are trained"
        f" ({sizes['trainable percent']:.2f} %)"
    )


def _partitioned(
    optimizer: optax.GradientTransformation, labels: Any
) -> optax.GradientTransformation:
    return optimizer if labels is None else partition_optimizer(optimizer, labels)
