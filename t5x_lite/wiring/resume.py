"""What every run that trains does around its loop: begin, or go on from the last checkpoint, if it is of this run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.console import log
from t5x_lite.errors import Diverged, InputError
from t5x_lite.parallel.processes import check_same, from_process_zero, wait_for_all
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.reports.outcome import report_divergence
from t5x_lite.reports.trackers import start_trackers
from t5x_lite.sections import seconds_of, to_dict
from t5x_lite.train.divergence import DivergenceGuard
from t5x_lite.train.loop import Cadence, Evaluate, Files, State, Turns, run_loop
from t5x_lite.train.preemption import preemption_watched
from t5x_lite.train.sections import DivergenceSettings
from t5x_lite.train.signals import deadline
from t5x_lite.wiring.lock import locked
from t5x_lite.wiring.rollbacks import Rollback, Rollbacks
from t5x_lite.wiring.workdir import CHECKPOINTS

StateMap = Callable[[State], State]
# step (from 1) -> which batch of the plan (from 0) it takes
BatchOf = Callable[[int], int]


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
    """Where a run is kept. config: its sections `checkpoint`, `logging` and `divergence` and `evaluation.at_start` are
    read, and all of it is in the report of a run that diverged."""

    folder: epath.Path
    config: Any


def cadence_of(config: Any, steps: int) -> Cadence:
    """The `every_steps` of the sections `logging`, `evaluation` and `checkpoint`."""
    return Cadence(
        steps,
        log_every=config.logging.every_steps,
        evaluate_every=config.evaluation.every_steps,
        save_every=config.checkpoint.every_steps,
    )


def place_of(config: Any, folder: epath.Path) -> Place:
    """The folder of a run of this config."""
    return Place(folder, config)


def run_turns(
    place: Place,
    states: States,
    cadence: Cadence,
    metadata: Mapping[str, Any],
    turns_from: Callable[[int, BatchOf], Turns],
    evaluate: Evaluate,
    described: str,
) -> State:
    """Trains up to step `cadence.steps`, from the folder's last checkpoint where there is one.

    A run that diverges goes back to its last checkpoint, or to its beginning, where the section `divergence` says so.

    Args:
      metadata: what a checkpoint must agree in to be gone on from: "examples", and where there are any "frozen" and
        "batches" (see `check_same_run`).
      turns_from: makes the turns of a run that stands at a step, whose next steps take certain batches.
      evaluate: as `train.loop.run_loop` has it.
      described: what is trained, in words, for the log.

    Raises:
      InputError: the checkpoint is of other examples, batches or frozen weights, or cannot be written; another run
        trains there.
      Stopped: a signal came; the same command goes on from there.
      Diverged: by the section `divergence`; a report says so.
    """
    check_same("training examples", metadata["examples"])
    settings = place.config.divergence
    kept = {
        name: value
        for name, value in to_dict(place.config.checkpoint).items()
        if name not in ("every_steps", "export")
    }
    # Around all returns: going back gives no more time.
    with (
        locked(os.fspath(place.folder)),  # a library's caller has no lock around the task
        deadline(seconds_of(place.config.stop_after)),
        preemption_watched(place.config.stop_on_preemption),
        contextlib.closing(Checkpoints(place.folder / CHECKPOINTS, **kept)) as checkpoints,
    ):
        rollbacks = Rollbacks(place.folder)
        run = _Run(
            place, states, cadence, metadata, turns_from, evaluate, described, checkpoints, rollbacks
        )  # fmt: skip
        while True:
            try:
                return run.chosen(run.go_on())
            except Diverged as error:
                checkpoints.wait()
                last = from_process_zero(checkpoints.latest_step) or 0
                back = settings.action == "roll_back" and last < error.step
                if not back or len(rollbacks.all) >= settings.rollbacks:
                    error.kept = _what_is_left(last, settings, len(rollbacks.all))
                    report_divergence(place.config, place.folder, error)
                    raise
                log.warning("%s; going back to step %d, and on with other batches", error, last)
                rollbacks.add(Rollback(last, error.step, str(error)))


@dataclasses.dataclass(frozen=True)
class _Run:
    """What `run_turns` is given, with the run's checkpoints and returns."""

    place: Place
    states: States
    cadence: Cadence
    metadata: Mapping[str, Any]
    turns_from: Callable[[int, BatchOf], Turns]
    evaluate: Evaluate
    described: str
    checkpoints: Checkpoints
    rollbacks: Rollbacks

    def go_on(self) -> State:
        """Trains from the last checkpoint, or from the beginning."""
        folder, states, settings = self.place.folder, self.states, self.place.config.divergence
        start, evaluation_owed = 0, self.place.config.evaluation.at_start
        saved: Mapping[str, Any] = {}
        if from_process_zero(self.checkpoints.latest_step) is None:
            state = states.begin()
        else:
            part, saved = self.checkpoints.restore(states.saved_part(states.abstract))
            state = states.completed(part)
            start = int(state.step)
            check_same_run(saved, self.metadata, folder)
            evaluation_owed = saved.get("evaluation_owed", False) and not from_process_zero(
                lambda: _is_evaluated(folder, start)
            )
        guard = DivergenceGuard(
            settings, saved.get("divergence", {}), afresh=self.rollbacks.led_to(start)
        )
        if start == self.cadence.steps and not evaluation_owed:
            guard.finish(start)
            log.info(
                "%s: all %d steps are done; it is scored again, and not trained", folder, start
            )
            return state
        if start:
            log.info("going on from step %d of %s", start, self.checkpoints.directory)
        log.info("%s", self.described)
        config, logging = self.place.config, self.place.config.logging
        with MetricsWriter(folder, start_step=start, tensorboard=logging.tensorboard) as writer:
            writer.trackers = start_trackers(logging.trackers, folder, to_dict(config))
            saver = _PartSaver(self.checkpoints, states.saved_part)
            state = run_loop(
                self.turns_from(start, self.rollbacks.batch), state, self.cadence,
                Files(writer, saver, self.metadata), self.evaluate, guard,
                start=start, evaluation_owed=evaluation_owed,
            )  # fmt: skip
        wait_for_all()  # the reports of all read what process 0 wrote
        return state

    def chosen(self, state: State) -> State:
        """The state that the run ends with: the last one, or that of the best checkpoint."""
        self.checkpoints.wait()
        best, last = from_process_zero(self.checkpoints.best_step), int(state.step)
        if self.place.config.checkpoint.export == "last" or best in (None, last):
            return state
        del state  # the memory of two is not needed
        part, about = self.checkpoints.restore(self.states.saved_part(self.states.abstract), best)
        metric = self.place.config.checkpoint.best_metric
        log.info(
            "the best is step %d, %s %.4g: that is what is left",
            best,
            metric,
            about["metrics"][metric],
        )
        return self.states.completed(part)


def _what_is_left(last: int, settings: DivergenceSettings, rollbacks: int) -> str:
    """What a run that diverged can go on from, and by what."""
    where = f"the checkpoint of step {last} is kept" if last else "there is no checkpoint"
    tried = f" (rolled back {rollbacks} times)" if rollbacks else ""
    advice = "lower config.schedule.learning_rate, look at these rows"
    if settings.action == "stop":
        advice += ", or set config.divergence.action to 'roll_back'"
    return f"{where}{tried}; {advice}"


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
