"""What every run that trains does around its loop: begin, or go on from the last checkpoint, if it is of this run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import check_same, from_process_zero, wait_for_all
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.train.loop import Cadence, Evaluate, Files, State, Turns, run_loop

StateMap = Callable[[State], State]


def same(state: State) -> State:
    """The state as it is: of runs whose checkpoints hold all of it."""
    return state


@dataclasses.dataclass(frozen=True)
class States:
    """Where a run's states come from, and what of them a checkpoint holds.

    begin: makes the first state. abstract: its tree of `jax.ShapeDtypeStruct` with shardings.
    saved_part, completed: what of a state a checkpoint holds, and the state made of that again.
    """

    begin: Callable[[], State]
    abstract: State
    saved_part: StateMap = same
    completed: StateMap = same


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run is kept. keep: checkpoints; tensorboard: whether events are written beside metrics.jsonl."""

    folder: epath.Path
    keep: int
    tensorboard: bool


def cadence_of(config: Any, steps: int) -> Cadence:
    """The `every_steps` of the sections `logging`, `evaluation` and `checkpoint`."""
    return Cadence(
        steps,
        log_every=config.logging.every_steps,
        evaluate_every=config.evaluation.every_steps,
        save_every=config.checkpoint.every_steps,
    )


def place_of(config: Any, folder: epath.Path) -> Place:
    """The folder with the sections `checkpoint` and `logging`."""
    return Place(folder, config.checkpoint.keep, config.logging.tensorboard)


def run_turns(
    place: Place,
    states: States,
    cadence: Cadence,
    metadata: Mapping[str, Any],
    turns_from: Callable[[int], Turns],
    evaluate: Evaluate,
    described: str,
) -> State:
    """Trains up to step `cadence.steps`, from the folder's last checkpoint where there is one.

    Args:
      metadata: what a checkpoint must agree in to be gone on from: "examples", and where there are any "frozen" and
        "batches" (see `check_same_run`).
      turns_from: makes the turns of a run that stands at a step.
      evaluate: as `train.loop.run_loop` has it.
      described: what is trained, in words, for the log.

    Raises:
      InputError: the checkpoint is of other examples, batches or frozen weights, or cannot be written.
      Stopped: a signal came; the same command goes on from there.
    """
    check_same("training examples", metadata["examples"])
    checkpoints = Checkpoints(place.folder / "checkpoints", keep=place.keep)
    try:
        start, evaluation_owed = 0, False
        if from_process_zero(checkpoints.latest_step) is None:
            state = states.begin()
        else:
            part, saved = checkpoints.restore(states.saved_part(states.abstract))
            state = states.completed(part)
            start = int(state.step)
            check_same_run(saved, metadata, place.folder)
            evaluation_owed = saved.get("evaluation_owed", False) and not from_process_zero(
                lambda: _is_evaluated(place.folder, start)
            )
            if start == cadence.steps and not evaluation_owed:
                return state
            log.info("going on from step %d of %s", start, checkpoints.directory)
        log.info("%s", described)
        with MetricsWriter(place.folder, start_step=start, tensorboard=place.tensorboard) as writer:
            saver = _PartSaver(checkpoints, states.saved_part)
            state = run_loop(
                turns_from(start), state, cadence, Files(writer, saver, metadata), evaluate,
                start=start, evaluation_owed=evaluation_owed,
            )  # fmt: skip
        wait_for_all()  # the reports of all read what process 0 wrote
        return state
    finally:
        checkpoints.close()


class _PartSaver:
    """Saves a part of each state."""

    def __init__(self, checkpoints: Checkpoints, saved_part: StateMap):
        self._checkpoints, self._saved_part = checkpoints, saved_part

    def save(self, step: int, state: State, metadata: Mapping[str, Any]) -> None:
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
    return any(
        record["step"] == step and any(name.startswith("evaluation/") for name in record)
        for record in read_metrics(workdir)
    )
