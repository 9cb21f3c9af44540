"""What every supervised run does around its step: go on from the last checkpoint, or begin; then the loop."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.checkpoints import Checkpoints
from t5x_lite.console import log
from t5x_lite.data.buckets import Shape
from t5x_lite.data.plan import Keep
from t5x_lite.data.prefetch import iterate
from t5x_lite.errors import InputError
from t5x_lite.optim.masters import masters_in
from t5x_lite.optim.optimizers import check_compute_dtype, make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.optim.trainable import trainable_part
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.processes import check_same, from_process_zero, wait_for_all
from t5x_lite.parallel.shardings import (
    optimizer_shardings,
    replicated,
    with_shardings,
)
from t5x_lite.params.partition import join
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.train.loop import run_loop
from t5x_lite.train.measured import MEMORY_FILE, MeasuredStep
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import Batch
from t5x_lite.wiring.model import shardings_of

_PREFETCH_THREADS = 1
_PREFETCH_BATCHES = 4

StateMap = Callable[[TrainState], TrainState]


class Batches(Protocol):
    """What a run draws from: `Plan`, `Curriculum`, `PairPlan`."""

    @property
    def shapes(self) -> Sequence[Shape]:
        """The shapes that its batches have."""

    def batch(self, step: int, keep: Keep | None = None) -> dict[str, np.ndarray]:
        """The global batch of that step, or the rows of it that `keep` says; a pure function."""


def same(state: TrainState) -> TrainState:
    """The state as it is: of runs whose checkpoints hold all of it."""
    return state


def optimizer_of(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The `optimizer` and `schedule` sections, over `train.steps`.

    Raises:
      InputError: settings that contradict each other, or a model that computes in float16.
    """
    check_compute_dtype(config.model.dtype)
    schedule = make_schedule(total_steps=config.train.steps, **config.schedule)
    return make_optimizer(schedule=schedule, **config.optimizer), schedule


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
    return jax.jit(make, out_shardings=shardings, donate_argnums=(0, 1)), abstract


def run_supervised(
    config: ConfigDict,
    step: Any,
    begin: Callable[[], TrainState],
    abstract: TrainState,
    batches: Batches,
    evaluate: Callable[[TrainState, Callable[[], bool]], Any],
    metadata: dict[str, Any],
    described: str,
    mesh: Mesh,
    workdir: epath.Path,
    *,
    saved_part: StateMap = same,
    whole: StateMap = same,
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      step: (state, batch, rng) -> (state, metrics), not jitted.
      begin: makes the first state, of the shapes and shardings of `abstract`.
      evaluate: as `train.loop.run_loop` has it.
      metadata: what a checkpoint must agree in to be gone on from: "examples", and "frozen" where there is any; the
        batches' shapes are added.
      described: what is trained, in words, for the log.
      saved_part, whole: what of the state a checkpoint holds, and the state made of that again.

    Raises:
      InputError: the checkpoint is of other examples, batches or frozen weights, or cannot be written.
      Stopped: a signal came; the same command goes on from there.
    """
    steps = config.train.steps
    check_same("training examples", metadata["examples"])
    metadata = metadata | {"batches": [list(shape) for shape in batches.shapes]}
    jitted = jax.jit(
        step, donate_argnums=0, out_shardings=(shardings_of(abstract), replicated(mesh))
    )
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep)
    try:
        start, evaluation_owed = 0, False
        if from_process_zero(checkpoints.latest_step) is None:
            state = begin()
        else:
            part, saved = checkpoints.restore(saved_part(abstract))
            state = whole(part)
            start = int(state.step)
            check_same_run(saved, metadata, workdir)
            evaluation_owed = saved["evaluation_owed"] and not from_process_zero(
                lambda: _is_evaluated(workdir, start)
            )
            if start == steps and not evaluation_owed:
                return state
            log.info("going on from step %d of %s", start, checkpoints.directory)
        log.info(
            "%s; %d steps; batches (encoder, decoder, rows): %s",
            described, steps, ", ".join(str(tuple(shape)) for shape in batches.shapes),
        )  # fmt: skip
        if masters := masters_in(abstract.opt_state):
            log.info(
                "%s weights are kept in %s: float32 masters of them, in the optimizer's state, are trained; the"
                " exported model is rounded (model.param_dtype=float32 keeps what they learn below that)",
                f"{masters:,}",
                config.model.param_dtype,
            )
        with MetricsWriter(
            workdir, start_step=start, tensorboard=config.logging.tensorboard
        ) as writer:
            state = run_loop(
                MeasuredStep(jitted, workdir / MEMORY_FILE, begin=start == 0),
                state,
                _device_batches(batches, start, steps, mesh),
                jax.random.fold_in(jax.random.key(config.seed), 0),
                start=start,
                steps=steps,
                writer=writer,
                log_every=config.logging.every_steps,
                evaluate=evaluate,
                evaluate_every=config.evaluation.every_steps,
                saver=_PartSaver(checkpoints, saved_part),
                save_every=config.checkpoint.every_steps,
                metadata=metadata,
                evaluation_owed=evaluation_owed,
            )
        wait_for_all()  # the reports of all read what process 0 wrote
        return state
    finally:
        checkpoints.close()


class _PartSaver:
    """Saves a part of each state."""

    def __init__(self, checkpoints: Checkpoints, saved_part: StateMap):
        self._checkpoints, self._saved_part = checkpoints, saved_part

    def save(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
        self._checkpoints.save(step, self._saved_part(state), metadata)

    def wait(self) -> None:
        self._checkpoints.wait()


def check_same_run(saved: Mapping[str, Any], now: Mapping[str, Any], workdir: epath.Path) -> None:
    """Refuses to go on from a checkpoint with other data, frozen weights or (where `now` has them) batches.

    Raises:
      InputError: which of them differ, and what to do.
    """
    if saved["examples"] != now["examples"]:
        raise InputError(
            f"--workdir {workdir}: the training examples are not those that its run began with (another file, data set"
            " revision or tokenizer behind the same names): put them back, or take another folder"
        )
    if saved.get("frozen") != now.get("frozen"):
        raise InputError(
            f"--workdir {workdir}: the weights of config.model.source that are not trained are not those that its run"
            " began with: put the model back, or take another folder"
        )
    if saved.get("batches") != now.get("batches"):
        raise InputError(
            f"--workdir {workdir}: its run has batches of (encoder, decoder, rows) {saved['batches']}, this mesh gives"
            f" {now['batches']}: choose a mesh that gives the same, or take another folder"
        )


def _is_evaluated(workdir: epath.Path, step: int) -> bool:
    """Whether the evaluation of that step is written: a resumed run, killed, may have made up for it."""
    return any(r["step"] == step and "evaluation/loss" in r for r in read_metrics(workdir))


@dataclasses.dataclass(frozen=True)
class _OwnBatches:
    """The part of each batch that this process reads."""

    batches: Batches
    rows: OwnRows

    def batch(self, step: int) -> dict[str, np.ndarray]:
        return self.batches.batch(step, self.rows.of)


def _device_batches(plan: Batches, start: int, steps: int, mesh: Mesh) -> Iterator[Batch]:
    rows = OwnRows(mesh)
    own = _OwnBatches(plan, rows)
    for batch in iterate(own, start, steps, threads=_PREFETCH_THREADS, ahead=_PREFETCH_BATCHES):
        yield rows.put(batch)
