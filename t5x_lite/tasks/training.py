"""What the supervised tasks share: optimizer, step, batches, checkpoints and the loop, wired from a config."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.checkpoints import Checkpoints
from t5x_lite.console import log
from t5x_lite.data.curriculum import Curriculum
from t5x_lite.data.plan import Plan
from t5x_lite.data.prefetch import iterate
from t5x_lite.errors import InputError
from t5x_lite.optim.losses import LossSettings
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.parallel.shardings import optimizer_shardings, put_batch, replicated, row_multiple
from t5x_lite.params.overview import count
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.tasks.model import Loaded, shardings_of
from t5x_lite.tasks.scoring import make_loss
from t5x_lite.tasks.text import check_batch
from t5x_lite.train.loop import run_loop
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import Batch, make_train_step

_PREFETCH_THREADS = 1
_PREFETCH_BATCHES = 4


def check_training(config: ConfigDict, mesh: Mesh) -> None:
    """Refuses settings that contradict each other, before any data is read."""
    _optimizer(config)
    check_batch(config.batch, row_multiple(mesh, config.batch.accumulation))


def state_of(config: ConfigDict, loaded: Loaded, mesh: Mesh) -> tuple[Callable[[Any], Any], Any]:
    """How the first training state is made from parameters, and its tree of `jax.ShapeDtypeStruct` with shardings.

    Raises:
      InputError: a pattern of the `optimizer` section that fits no parameter or is no regular expression.
    """
    optimizer, _ = _optimizer(config)
    make = functools.partial(init_state, optimizer=optimizer)

    def make_and_update(params: Any) -> TrainState:
        state = make(params)
        optimizer.update(params, state.opt_state, params)  # patterns are looked up here, too
        return state

    try:
        shapes = jax.eval_shape(make_and_update, loaded.abstract)
    except (ValueError, re.error) as error:
        raise InputError(f"config.optimizer: {error}") from error
    parameters = shardings_of(loaded.abstract)
    everywhere: Any = replicated(mesh)
    shardings = TrainState(
        step=everywhere,
        params=parameters,
        opt_state=optimizer_shardings(optimizer, loaded.abstract, parameters, mesh),
    )
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    return jax.jit(make, out_shardings=shardings, donate_argnums=0), abstract


def train(
    config: ConfigDict,
    loaded: Loaded,
    batches: Plan | Curriculum,
    evaluation: Plan,
    examples: str,
    mesh: Mesh,
    workdir: epath.Path,
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      batches: what each step trains on.
      evaluation: what `evaluation.every_steps` computes the loss of.
      examples: identifies the training examples; a run goes on only with those it began with.

    Returns:
      The last state.

    Raises:
      InputError: the examples or batches are no longer those the run began with, or a checkpoint cannot be written.
      Stopped: a signal came; the same command goes on from there.
    """
    model, steps = loaded.model, config.train.steps
    optimizer, schedule = _optimizer(config)
    make_state, abstract = state_of(config, loaded, mesh)
    train_step = jax.jit(
        make_train_step(
            model,
            optimizer,
            schedule,
            LossSettings(**config.loss),
            accumulation=config.batch.accumulation,
        ),
        donate_argnums=0,
        out_shardings=(shardings_of(abstract), replicated(mesh)),
    )
    metadata = {"examples": examples, "batches": [list(shape) for shape in batches.shapes]}
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep)
    try:
        start, evaluation_owed = 0, False
        if checkpoints.latest_step() is None:
            state = make_state(loaded.make())
        else:
            state, saved = checkpoints.restore(abstract)
            start = int(state.step)
            _check_same_run(saved, metadata, workdir)
            evaluation_owed = saved["evaluation_owed"] and not _is_evaluated(workdir, start)
            if start == steps and not evaluation_owed:
                return state
            log.info("going on from step %d of %s", start, checkpoints.directory)
        log.info(
            "%s parameters; %d steps; batches (encoder, decoder, rows): %s",
            f"{count(loaded.abstract):,}", steps, ", ".join(str(tuple(s)) for s in batches.shapes),
        )  # fmt: skip
        loss = make_loss(model, evaluation, mesh)
        with MetricsWriter(
            workdir, start_step=start, tensorboard=config.logging.tensorboard
        ) as writer:
            return run_loop(
                train_step,
                state,
                _device_batches(batches, start, steps, mesh),
                jax.random.fold_in(jax.random.key(config.seed), 0),
                start=start,
                steps=steps,
                writer=writer,
                log_every=config.logging.every_steps,
                evaluate=lambda state, stopping: loss(state.params, stopping),
                evaluate_every=config.evaluation.every_steps,
                saver=checkpoints,
                save_every=config.checkpoint.every_steps,
                metadata=metadata,
                evaluation_owed=evaluation_owed,
            )
    finally:
        checkpoints.close()


def _optimizer(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    schedule = make_schedule(total_steps=config.train.steps, **config.schedule)
    return make_optimizer(schedule=schedule, **config.optimizer), schedule


def _check_same_run(saved: dict[str, Any], now: dict[str, Any], workdir: epath.Path) -> None:
    if saved["examples"] != now["examples"]:
        raise InputError(
            f"--workdir {workdir}: the training examples are not those that its run began with (another file, data set"
            " revision or tokenizer behind the same names): put them back, or take another folder"
        )
    if saved["batches"] != now["batches"]:
        raise InputError(
            f"--workdir {workdir}: its run has batches of (encoder, decoder, rows) {saved['batches']}, this mesh gives"
            f" {now['batches']}: choose a mesh that gives the same, or take another folder"
        )


def _is_evaluated(workdir: epath.Path, step: int) -> bool:
    """Whether the evaluation of that step is written: a resumed run, killed, may have made up for it."""
    return any(r["step"] == step and "evaluation/loss" in r for r in read_metrics(workdir))


def _device_batches(plan: Plan | Curriculum, start: int, steps: int, mesh: Mesh) -> Iterator[Batch]:
    for batch in iterate(plan, start, steps, threads=_PREFETCH_THREADS, ahead=_PREFETCH_BATCHES):
        yield put_batch(batch, mesh)
