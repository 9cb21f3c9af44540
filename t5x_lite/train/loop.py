"""The one training loop: take a turn, read its metrics, evaluate, save, stop in order.

What differs between kinds of training is how a turn is taken (`Turns`): a jitted step on the next batch (`StepTurns`),
or the rollout, scores and updates of PPO.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax

from t5x_lite.console import log, progress
from t5x_lite.errors import Stopped
from t5x_lite.train.signals import StopSignal
from t5x_lite.train.update import Batch, TrainStep

# A pytree with an int32 `step`, the number of turns taken.
State = Any
# (state, stopping) -> metrics, {} for none; None if it gave up because `stopping()` became true.
Evaluate = Callable[[State, Callable[[], bool]], Mapping[str, float] | None]


class Writer(Protocol):
    """Where metrics go."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics of a step."""


class Saver(Protocol):
    """Where states go."""

    def save(self, step: int, state: State, metadata: Mapping[str, Any]) -> None:
        """Starts saving the state; returns when its buffers may be donated."""

    def wait(self) -> None:
        """Waits until it is saved."""


class Turns(Protocol):
    """How a turn is taken."""

    # What the progress bar says of the turns.
    title: str
    # Whether the metrics of a turn are on their way while the next one is begun (those of a jitted step).
    ahead: bool

    def take(
        self, state: State, step: int, compiling: Callable[[str], None]
    ) -> tuple[State, Mapping[str, Any]]:
        """The state after the turn `step`, and its metrics: numbers, on the devices or here.

        compiling: to be called with the shapes before something is compiled, which takes a while.
        """

    def note(self, metrics: Mapping[str, float]) -> str:
        """What the progress bar shows of a turn."""


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How many turns there are, and what happens how often: at every so-manieth turn, and at the last one."""

    steps: int
    log_every: int
    evaluate_every: int
    save_every: int

    def is_due(self, every: int, step: int) -> bool:
        """Whether what happens every so often happens at this step."""
        return step == self.steps or step % every == 0


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a run is written. metadata: saved with every checkpoint, beside `evaluation_owed`."""

    writer: Writer
    saver: Saver
    metadata: Mapping[str, Any]


class StepTurns:
    """Turns of a jitted step (its state donated) on one batch after the other.

    batches: on the devices, from the first step to be taken on. base_rng: what the steps draw from.
    """

    title, ahead = "training", True

    def __init__(self, train_step: TrainStep, batches: Iterator[Batch], base_rng: jax.Array):
        self._step, self._batches, self._rng = train_step, batches, base_rng
        self._seen: set[tuple[int, ...]] = set()

    def take(
        self, state: State, step: int, compiling: Callable[[str], None]
    ) -> tuple[State, Mapping[str, Any]]:
        batch = next(self._batches)
        if (shape := shape_of(batch)) not in self._seen:
            self._seen.add(shape)
            compiling(str(shape))
        return self._step(state, batch, self._rng)

    def note(self, metrics: Mapping[str, float]) -> str:
        return f"loss {metrics['loss']:.3f}" + (" SKIPPED" if metrics["skipped"] else "")


def run_loop(
    turns: Turns,
    state: State,
    cadence: Cadence,
    files: Files,
    evaluate: Evaluate,
    *,
    start: int,
    evaluation_owed: bool,
) -> State:
    """Trains from step `start` to `cadence.steps`; steps are numbered from 1 in metrics and checkpoints.

    Where `turns.ahead`, the metrics of step n are read while step n + 1 computes. Everything of a step is written
    before its checkpoint is, so that a resumed run repeats nothing. Beside its metrics, time/step_seconds is written
    (times are the one thing that differs between a resumed run and one that never stopped).

    A signal ends the run after the step, or amid the evaluation, that it comes in. An evaluation that it left no time
    for is owed: the checkpoint's metadata says so, and the resumed run begins with it.

    Raises:
      Stopped: a signal came; the state of the last step is saved.
    """
    with (
        progress(cadence.steps, turns.title, "step", initial=start) as bar,
        StopSignal() as stop,
    ):
        journal = _Journal(turns, cadence, files.writer, evaluate, bar, stop)
        if evaluation_owed and not journal.evaluated(start, state):
            raise Stopped(stop.received or 0, start)
        for step in range(start + 1, cadence.steps + 1):
            state, metrics = turns.take(state, step, journal.compiling)
            journal.settle()
            journal.pending = (step, metrics)
            if not turns.ahead:
                journal.settle()
            owed = False
            if cadence.is_due(cadence.evaluate_every, step):
                journal.settle()
                owed = not journal.evaluated(step, state)
            stopping = stop.agreed()  # asked once: a signal may come at any point
            if cadence.is_due(cadence.save_every, step) or stopping:
                journal.settle()
                files.saver.save(step, state, {**files.metadata, "evaluation_owed": owed})
            if stopping:
                break
        files.saver.wait()
        if stop.agreed_at_the_end():
            raise Stopped(stop.received or 0, int(state.step))
    return state


class _Journal:
    """Writes what the turns and evaluations say. pending: the turn taken last, until its metrics are read."""

    def __init__(
        self,
        turns: Turns,
        cadence: Cadence,
        writer: Writer,
        evaluate: Evaluate,
        bar: progress,
        stop: StopSignal,
    ):
        self._turns, self._cadence, self._writer = turns, cadence, writer
        self._evaluate, self._bar, self._stop = evaluate, bar, stop
        self._last_time = time.monotonic()
        self.pending: tuple[int, Mapping[str, Any]] | None = None

    def compiling(self, shapes: str) -> None:
        """Says so, once the turn before is told of: this takes a while."""
        self.settle()
        self._bar.announce(f"compiling for {shapes}")

    def settle(self) -> None:
        """Reads and writes the metrics of the turn that was taken last."""
        if self.pending is None:
            return
        step, metrics = self.pending
        self.pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.monotonic()
        values["time/step_seconds"], self._last_time = now - self._last_time, now
        self._bar.note(self._turns.note(values))
        self._bar.update()
        # A step that was skipped is always told of: who counts the lines counts all of them.
        skipped = any(name.endswith("skipped") and value for name, value in values.items())
        if skipped or self._cadence.is_due(self._cadence.log_every, step):
            self._writer.write(step, values)

    def evaluated(self, step: int, state: State) -> bool:
        """Evaluates and writes the result; False if a signal left no time for it."""
        self._bar.note("evaluating", now=True)
        values = self._evaluate(state, self._stop.agreed)
        self._last_time = time.monotonic()
        if values is None:
            return False
        if values:
            self._writer.write(step, values)
            shown = (f"{name.partition('/')[2]} {value:.4g}" for name, value in values.items())
            log.info("step %d, evaluation: %s", step, ", ".join(shown))
        return True


def shape_of(batch: Batch) -> tuple[int, ...]:
    """(encoder length, decoder length, rows), in which batches differ."""
    rows, encoder_length = batch["encoder_input_tokens"].shape
    return encoder_length, batch["decoder_input_tokens"].shape[1], rows
