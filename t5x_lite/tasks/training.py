"""What the supervised tasks share: optimizer, step, batches, checkpoints and the loop, wired from a config."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
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
from t5x_lite.optim.trainable import combine, partition_optimizer, trainable_part
from t5x_lite.parallel.shardings import optimizer_shardings, put_batch, replicated, row_multiple
from t5x_lite.params.fingerprint import whole
from t5x_lite.params.overview import count
from t5x_lite.params.partition import join, separate
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.tasks.adaptation import Adaptation
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


def state_of(
    config: ConfigDict, loaded: Loaded, mesh: Mesh, adaptation: Adaptation | None = None
) -> tuple[Callable[..., Any], Any]:
    """How the first training state is made from parameters and adapters, and its tree of `jax.ShapeDtypeStruct` with
    shardings.

    Raises:
      InputError: a pattern of the `optimizer` section that fits no trained parameter or is no regular expression.
    """
    labels = adaptation.labels if adaptation else None
    optimizer = _partitioned(_optimizer(config)[0], labels)
    params = adaptation.params if adaptation else loaded.abstract
    adapters = adaptation.adapters if adaptation else {}

    def make(params: Any, adapters: Any) -> TrainState:
        return init_state(params, optimizer, adapters)

    def make_and_update(params: Any, adapters: Any) -> TrainState:
        state = make(params, adapters)
        part = _part(join(params, adapters), labels)
        optimizer.update(part, state.opt_state, part)  # patterns are looked up here, too
        return state

    try:
        shapes = jax.eval_shape(make_and_update, params, adapters)
    except (ValueError, re.error) as error:
        raise InputError(f"config.optimizer: {error}") from error
    everywhere: Any = replicated(mesh)
    joined = join(params, adapters)
    shardings = TrainState(
        step=everywhere,
        params=shardings_of(params),
        opt_state=optimizer_shardings(optimizer, joined, shardings_of(joined), mesh),
        adapters=shardings_of(adapters),
    )
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    return jax.jit(make, out_shardings=shardings, donate_argnums=(0, 1)), abstract


def train(
    config: ConfigDict,
    loaded: Loaded,
    batches: Plan | Curriculum,
    evaluation: Plan,
    examples: str,
    mesh: Mesh,
    workdir: epath.Path,
    adaptation: Adaptation | None = None,
) -> TrainState:
    """Trains for `train.steps` steps, from the workdir's last checkpoint where there is one.

    Args:
      batches: what each step trains on.
      evaluation: what `evaluation.every_steps` computes the loss of.
      examples: identifies the training examples; a run goes on only with those it began with.
      adaptation: what is trained of the model, and its adapters; None: every parameter. Checkpoints hold the trainable
        part alone; a run that goes on makes the rest again, and sees that it is what it was.

    Returns:
      The last state.

    Raises:
      InputError: the examples, batches or frozen weights are no longer those the run began with, or a checkpoint cannot
        be written.
      Stopped: a signal came; the same command goes on from there.
    """
    model, steps = loaded.model, config.train.steps
    optimizer, schedule = _optimizer(config)
    labels = adaptation.labels if adaptation else None
    make_state, abstract = state_of(config, loaded, mesh, adaptation)
    train_step = jax.jit(
        make_train_step(
            model,
            _partitioned(optimizer, labels),
            schedule,
            LossSettings(**config.loss),
            accumulation=config.batch.accumulation,
            labels=labels,
        ),
        donate_argnums=0,
        out_shardings=(shardings_of(abstract), replicated(mesh)),
    )
    metadata: dict[str, Any] = {
        "examples": examples,
        "batches": [list(shape) for shape in batches.shapes],
    }
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep)
    try:
        start, evaluation_owed = 0, False
        begun = adaptation.make() if adaptation and labels is not None else None
        if adaptation and begun:
            adaptation.frozen_fingerprint = adaptation.fingerprint_frozen(begun[0])
            adaptation.begin = jax.tree.map(whole, begun[1])
            metadata["frozen"] = adaptation.frozen_fingerprint
        if checkpoints.latest_step() is None:
            state = make_state(*(begun or (loaded.make(), {})))
        else:
            state, saved = checkpoints.restore(_saved_part(abstract, labels))
            if begun:
                state = _whole(state, *begun)
            start = int(state.step)
            _check_same_run(saved, metadata, workdir)
            evaluation_owed = saved["evaluation_owed"] and not _is_evaluated(workdir, start)
            if start == steps and not evaluation_owed:
                return state
            log.info("going on from step %d of %s", start, checkpoints.directory)
        log.info(
            "%s; %d steps; batches (encoder, decoder, rows): %s",
            _counts(loaded, adaptation), steps, ", ".join(str(tuple(s)) for s in batches.shapes),
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
                evaluate=lambda state, stopping: loss(state.params, stopping, state.adapters),
                evaluate_every=config.evaluation.every_steps,
                saver=checkpoints if labels is None else _PartSaver(checkpoints, labels),
                save_every=config.checkpoint.every_steps,
                metadata=metadata,
                evaluation_owed=evaluation_owed,
            )
    finally:
        checkpoints.close()


def _optimizer(config: ConfigDict) -> tuple[optax.GradientTransformation, optax.Schedule]:
    schedule = make_schedule(total_steps=config.train.steps, **config.schedule)
    return make_optimizer(schedule=schedule, **config.optimizer), schedule


def _counts(loaded: Loaded, adaptation: Adaptation | None) -> str:
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


def _part(tree: Any, labels: Any) -> Any:
    return tree if labels is None else trainable_part(tree, labels)


def _saved_part(state: TrainState, labels: Any) -> TrainState:
    """What a checkpoint holds: the state without its frozen leaves."""
    if labels is None:
        return state
    params, adapters = separate(trainable_part(join(state.params, state.adapters), labels))
    return dataclasses.replace(state, params=params, adapters=adapters)


def _whole(part: TrainState, params: Any, adapters: Any) -> TrainState:
    """The inverse of `_saved_part`: the frozen leaves are those of `params` and `adapters`."""
    params, adapters = separate(combine(join(part.params, part.adapters), join(params, adapters)))
    return dataclasses.replace(part, params=params, adapters=adapters)


class _PartSaver:
    """Saves what is trained; the rest comes from where it came from."""

    def __init__(self, checkpoints: Checkpoints, labels: Any):
        self._checkpoints, self._labels = checkpoints, labels

    def save(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
        self._checkpoints.save(step, _saved_part(state, self._labels), metadata)

    def wait(self) -> None:
        self._checkpoints.wait()


def _check_same_run(saved: dict[str, Any], now: dict[str, Any], workdir: epath.Path) -> None:
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
