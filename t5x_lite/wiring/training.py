"""Training of a T5, wholly or in part, wired from a config: optimizer, step, and what a checkpoint holds of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.data.plan import Plan
from t5x_lite.optim.losses import LossSettings
from t5x_lite.optim.trainable import combine, partition_optimizer, trainable_part
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.gather import whole
from t5x_lite.params.overview import count
from t5x_lite.params.partition import join, separate
from t5x_lite.train.loop import Evaluate
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import make_train_step
from t5x_lite.wiring.adaptation import Adaptation
from t5x_lite.wiring.model import Loaded
from t5x_lite.wiring.scoring import make_loss
from t5x_lite.wiring.supervised import (
    Batches,
    StateMap,
    optimizer_of,
    place_state,
    run_supervised,
    same,
)
from t5x_lite.wiring.text import check_batch


def check_training(config: ConfigDict, mesh: Mesh) -> None:
    """Refuses settings that contradict each other, before any data is read."""
    optimizer_of(config)
    check_batch(config.batch, row_multiple(mesh, config.batch.accumulation))


def state_of(
    config: ConfigDict, loaded: Loaded, mesh: Mesh, adaptation: Adaptation | None = None
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


def train(
    config: ConfigDict,
    loaded: Loaded,
    batches: Batches,
    evaluation: Plan,
    examples: str,
    mesh: Mesh,
    workdir: epath.Path,
    adaptation: Adaptation | None = None,
) -> TrainState:
    """`train_by` the cross-entropy of the `loss` section.

    evaluation: what `evaluation.every_steps` computes the loss of.
    """
    loss = make_loss(loaded.model, evaluation, mesh, config.loss.chunk)
    return train_by(
        lambda optimizer, schedule, labels: make_train_step(
            loaded.model,
            optimizer,
            schedule,
            LossSettings(**config.loss),
            accumulation=config.batch.accumulation,
            labels=labels,
        ),
        lambda state, stopping: loss(state.params, stopping, state.adapters),
        config,
        loaded,
        batches,
        examples,
        mesh,
        workdir,
        adaptation,
    )


def train_by(
    make_step: Callable[[optax.GradientTransformation, optax.Schedule, Any], Any],
    evaluate: Evaluate,
    config: ConfigDict,
    loaded: Loaded,
    batches: Batches,
    examples: str,
    mesh: Mesh,
    workdir: epath.Path,
    adaptation: Adaptation | None,
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      make_step: (optimizer of the trained part, schedule, labels) -> step, not jitted.
      evaluate: as `train.loop.run_loop` has it.
      batches: what each step trains on.
      examples: identifies the training examples; a run goes on only with those it began with.
      adaptation: what is trained of the model, and its adapters; None: every parameter. Checkpoints hold the trainable
        part alone; a run that goes on makes the rest again, and sees that it is what it was.

    Returns:
      The last state.

    Raises:
      InputError, Stopped: as `supervised.run_supervised`.
    """
    optimizer, schedule = optimizer_of(config)
    labels = adaptation.labels if adaptation else None
    make_state, abstract = state_of(config, loaded, mesh, adaptation)
    step = make_step(_partitioned(optimizer, labels), schedule, labels)
    metadata = {"examples": examples}
    begun: tuple[Any, Any] | None = None
    saved_part: StateMap = same
    whole_state: StateMap = same
    if adaptation and labels is not None:
        begun = params, adapters = adaptation.make()
        adaptation.frozen_fingerprint = adaptation.fingerprint_frozen(params)
        adaptation.begin = jax.tree.map(whole, adapters)
        metadata["frozen"] = adaptation.frozen_fingerprint

        def saved_part(state: TrainState) -> TrainState:
            params, adapters = separate(trainable_part(join(state.params, state.adapters), labels))
            return dataclasses.replace(state, params=params, adapters=adapters)

        def whole_state(part: TrainState) -> TrainState:
            trained = join(part.params, part.adapters)
            params, adapters = separate(combine(trained, join(*begun)))
            return dataclasses.replace(part, params=params, adapters=adapters)

    return run_supervised(
        config,
        step,
        lambda: make_state(*(begun or (loaded.make(), {}))),
        abstract,
        batches,
        evaluate,
        metadata,
        _described(loaded, adaptation),
        mesh,
        workdir,
        saved_part=saved_part,
        whole=whole_state,
    )


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
