"""What the supervised tasks share: optimizer, step, batches, checkpoints and the loop, wired from a config."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.checkpoints import Checkpoints
from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.data.prefetch import iterate
from t5x_lite.evaluation.teacher_forced import evaluate_loss
from t5x_lite.optim.losses import LossSettings
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.parallel.shardings import optimizer_shardings, put_batch, replicated, row_multiple
from t5x_lite.params.overview import count
from t5x_lite.reports.metrics import MetricsWriter
from t5x_lite.tasks.model import Loaded
from t5x_lite.tasks.text import Split, evaluation_plan, train_plan
from t5x_lite.train.loop import run_loop
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import Batch, make_eval_step, make_train_step

_PREFETCH_THREADS = 1
_PREFETCH_BATCHES = 4


def train(
    config: ConfigDict,
    loaded: Loaded,
    train_split: Split,
    evaluation_split: Split,
    mesh: Mesh,
    workdir: epath.Path,
) -> tuple[TrainState, Plan]:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Returns:
      The last state, and the plan of the training batches.
    """
    model, steps = loaded.model, config.train.steps
    schedule = make_schedule(total_steps=steps, **config.schedule)
    optimizer = make_optimizer(schedule=schedule, **config.optimizer)
    rows = row_multiple(mesh, config.batch.accumulation)
    plan = train_plan(
        config.batch, train_split, model.config, seed=config.seed, row_multiple=rows, data=config.data
    )
    evaluation = evaluation_plan(
        evaluation_split, model.config, tokens=config.evaluation.batch_tokens, row_multiple=row_multiple(mesh)
    )
    log.info(
        "%s parameters; %d steps of an epoch's %d; batches (encoder, decoder, rows): %s",
        f"{count(loaded.params):,}", steps, plan.steps_per_epoch, ", ".join(str(tuple(s)) for s in plan.shapes),
    )  # fmt: skip

    shardings = TrainState(
        step=replicated(mesh),
        params=loaded.shardings,
        opt_state=optimizer_shardings(optimizer, _abstract(loaded.params), loaded.shardings, mesh),
    )
    step_function = make_train_step(
        model, optimizer, schedule, LossSettings(**config.loss), accumulation=config.batch.accumulation
    )
    train_step = jax.jit(
        step_function, donate_argnums=0, out_shardings=(shardings, replicated(mesh))
    )
    make_state = functools.partial(init_state, optimizer=optimizer)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep)
    start, evaluation_owed = 0, False
    if checkpoints.latest_step() is None:
        state = jax.jit(make_state, out_shardings=shardings, donate_argnums=0)(loaded.params)
    else:
        abstract = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            jax.eval_shape(make_state, _abstract(loaded.params)),
            shardings,
        )
        state, metadata = checkpoints.restore(abstract)
        start, evaluation_owed = int(state.step), metadata["evaluation_owed"]
        log.info("going on from step %d of %s", start, checkpoints.directory)

    eval_step = jax.jit(make_eval_step(model))

    def evaluate(state: TrainState) -> dict[str, float]:
        batches = (put_batch(evaluation.batch(i), mesh) for i in range(evaluation.steps_per_epoch))
        result = evaluate_loss(eval_step, state.params, batches, total=evaluation.steps_per_epoch)
        return {f"evaluation/{name}": value for name, value in result.items()}

    with MetricsWriter(workdir, start_step=start, tensorboard=config.logging.tensorboard) as writer:
        try:
            state = run_loop(
                train_step,
                state,
                _device_batches(plan, start, steps, mesh),
                jax.random.fold_in(jax.random.key(config.seed), 0),
                start=start,
                steps=steps,
                writer=writer,
                log_every=config.logging.every_steps,
                evaluate=evaluate,
                evaluate_every=config.evaluation.every_steps,
                saver=checkpoints,
                save_every=config.checkpoint.every_steps,
                metadata={"seed": config.seed},
                evaluation_owed=evaluation_owed,
            )
        finally:
            checkpoints.close()
    return state, plan


def _device_batches(plan: Plan, start: int, steps: int, mesh: Mesh) -> Iterator[Batch]:
    for batch in iterate(plan, start, steps, threads=_PREFETCH_THREADS, ahead=_PREFETCH_BATCHES):
        yield put_batch(batch, mesh)


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
