"""What runs of a jitted step on planned batches share: optimizer, first state, turns, and the loop around them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.console import log
from t5x_lite.data.pads import Batches
from t5x_lite.data.prefetch import iterate
from t5x_lite.errors import InputError
from t5x_lite.foreign.sizes import refuse_larger
from t5x_lite.optim.masters import masters_in
from t5x_lite.optim.optimizers import check_compute_dtype, make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.optim.trainable import trainable_part
from t5x_lite.parallel.memory import refuse_beyond_memory
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import (
    optimizer_shardings,
    replicated,
    with_shardings,
)
from t5x_lite.params.partition import join
from t5x_lite.params.paths import flatten
from t5x_lite.train.loop import Evaluate, Prepare, StepTurns
from t5x_lite.train.measured import MEMORY_FILE, MeasuredStep
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.update import Batch, TrainStep
from t5x_lite.wiring.model import shardings_of
from t5x_lite.wiring.rehearsal import note, note_memory
from t5x_lite.wiring.resume import BatchOf, States, cadence_of, place_of, run_turns
from t5x_lite.wiring.sections import OptimizedConfig, TrainingConfig

_TOKEN_ARRAYS = 4  # of a batch, at the least
_PREFETCH_THREADS = 1
_PREFETCH_BATCHES = 4


def optimizer_of(config: OptimizedConfig) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The `optimizer` and `schedule` sections, over `train.steps`.

    Raises:
      InputError: a model that computes in float16.
    """
    check_compute_dtype(config.model.dtype)
    schedule = make_schedule(config.schedule, config.train.steps)
    return make_optimizer(config.optimizer, schedule), schedule


def place_state(
    optimizer: optax.GradientTransformation, params: Any, adapters: Any, labels: Any, mesh: Mesh
) -> tuple[Callable[..., Any], Any]:
    """How the first training state is made from parameters and adapters (both donated), and its tree of
    `jax.ShapeDtypeStruct` with shardings.

    Args:
      params, adapters: trees of `jax.ShapeDtypeStruct` with shardings.
      labels: of the leaves of both, joined; None where everything is trained.

    Raises:
      InputError: a pattern of the `optimizer` section that fits no trained parameter or is no regular expression.
    """
    joined = join(params, adapters)

    def make(params: Any, adapters: Any) -> TrainState:
        return init_state(params, optimizer, adapters)

    def make_and_update(params: Any, adapters: Any) -> TrainState:
        state = make(params, adapters)
        part = join(params, adapters)
        part = part if labels is None else trainable_part(part, labels)
        optimizer.update(part, state.opt_state, part)  # patterns are looked up here, too
        return state

    try:
        shapes = jax.eval_shape(make_and_update, params, adapters)
    except (ValueError, re.error) as error:
        raise InputError(f"config.optimizer: {error}") from error
    everywhere: Any = replicated(mesh)
    shardings = TrainState(
        step=everywhere,
        params=shardings_of(params),
        opt_state=optimizer_shardings(optimizer, joined, shardings_of(joined), mesh),
        adapters=shardings_of(adapters),
    )
    abstract = with_shardings(shapes, shardings)
    note_memory("state (parameters, adapters, optimizer)", abstract)
    note("memory, beside it", "gradients of what is trained, activations and temporaries")
    refuse_beyond_memory(
        abstract, "parameters, adapters and optimizer state (config.model, adapter)"
    )
    return jax.jit(make, out_shardings=shardings, donate_argnums=(0, 1)), abstract


def jit_step(step: TrainStep, abstract: TrainState, mesh: Mesh) -> Any:
    """The jitted step; the state is donated and stays where it lies."""
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings_of(abstract), replicated(mesh)))


@dataclasses.dataclass(frozen=True)
class Feed:
    """What the steps of a run learn from. prepare: as `train.loop.StepTurns` has it."""

    batches: Batches
    prepare: Prepare | None = None


def run_supervised(
    config: TrainingConfig,
    step: TrainStep,
    states: States,
    feed: Feed,
    evaluate: Evaluate,
    metadata: Mapping[str, Any],
    described: str,
    place: tuple[Mesh, epath.Path],
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      step: not jitted.
      evaluate: as `train.loop.run_loop` has it.
      metadata: what a checkpoint must agree in to be gone on from: "examples", and "frozen" where there is any; the
        batches' shapes are added.
      described: what is trained, in words, for the log.
      place: the mesh, and the workdir.

    Raises:
      InputError, Stopped: as `resume.run_turns`.
    """
    mesh, workdir = place
    batches, steps = feed.batches, config.train.steps
    jitted = jit_step(step, states.abstract, mesh)

    part = states.saved_part(states.abstract)

    def turns_from(start: int, batch_of: BatchOf) -> StepTurns:
        return StepTurns(
            MeasuredStep(jitted, workdir / MEMORY_FILE, begin=start == 0),
            _device_batches(batches, batch_of, start, steps, mesh),
            streams.key(config.seed, "dropout"),
            list(flatten(join(part.params, part.adapters))),
            lambda step: batches.names(batch_of(step)),
            feed.prepare,
        )

    _tell_of_masters(config, states)
    _refuse_large_batches(batches)
    shapes = ", ".join(str(tuple(shape)) for shape in batches.shapes)
    return run_turns(
        place_of(config, workdir),
        states,
        cadence_of(config, steps),
        {**metadata, "batches": [list(shape) for shape in batches.shapes]},
        turns_from,
        evaluate,
        f"{described}; {steps} steps; batches (encoder, decoder, rows): {shapes}",
    )


def _tell_of_masters(config: TrainingConfig, states: States) -> None:
    if masters := masters_in(states.abstract.opt_state):
        log.info(
            "%s weights are kept in %s: float32 masters of them, in the optimizer's state, are trained; the"
            " exported model is rounded (model.param_dtype=float32 keeps what they learn below that)",
            f"{masters:,}",
            config.model.param_dtype,
        )


def _refuse_large_batches(batches: Batches) -> None:
    for encoder, decoder, rows in batches.shapes:
        refuse_larger(
            (_TOKEN_ARRAYS, rows, encoder + decoder),
            4,
            "config.batch: the tokens of a batch",
            hosts=jax.process_count(),
            way_out="choose a smaller batch.size",
        )


@dataclasses.dataclass(frozen=True)
class _OwnBatches:
    """The part of each batch that this process reads. batch_of: step (from 1) -> its batch of the plan (from 0)."""

    batches: Batches
    rows: OwnRows
    batch_of: BatchOf

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return self.batches.batch(self.batch_of(step + 1), self.rows.of)


def _device_batches(
    plan: Batches, batch_of: BatchOf, start: int, steps: int, mesh: Mesh
) -> Iterator[Batch]:
    rows = OwnRows(mesh)
    own = _OwnBatches(plan, rows, batch_of)
    for batch in iterate(own, start, steps, threads=_PREFETCH_THREADS, ahead=_PREFETCH_BATCHES):
        yield rows.put(batch)
