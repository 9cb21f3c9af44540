"""The one training loop: take a turn, read its metrics, evaluate, save, stop in order.

What differs between kinds of training is how a turn is taken (`Turns`): a jitted step on the next batch (`StepTurns`),
or the rollout, scores and updates of PPO.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax

from t5x_lite.console import log, progress
from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
from t5x_lite.parallel.processes import process_count
from t5x_lite.train.divergence import CULPRIT, SPIKE, DivergenceGuard, first_not_finite, health_of
from t5x_lite.train.signals import StopSignal
from t5x_lite.train.update import Batch, TrainStep

# A pytree with an int32 `step`, the number of turns taken.
State = Any
# (state, step, batch on the devices) -> what the step takes in its place
Prepare = Callable[[State, int, Batch], Batch]
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
    # The paths of the trained leaves, in the order of the tree.
    tensors: Sequence[str]
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

    def examples(self, step: int) -> Sequence[str]:
        """The ids of what the turn `step` learns from."""


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
    """Where a run is written. metadata: saved with every checkpoint, beside `evaluation_owed`,
    `divergence` and `metrics` (what an evaluation at its step found)."""

    writer: Writer
    saver: Saver
    metadata: Mapping[str, Any]


class StepTurns:
    """Turns of a jitted step (its state donated) on one batch after the other.

    batches: on the devices, from the first step to be taken on. base_rng: what the steps draw from.
    tensors, examples: as `Turns` has them. prepare: of each batch, before its step; None: as it comes.
    """

    title, ahead = "training", True

    def __init__(
        self,
        train_step: TrainStep,
        batches: Iterator[Batch],
        base_rng: jax.Array,
        tensors: Sequence[str],
        examples: Callable[[int], Sequence[str]],
        prepare: Prepare | None = None,
    ):
        self._step, self._batches, self._rng = train_step, batches, base_rng
        self._prepare = prepare
        self.tensors, self._examples = tensors, examples
        self._seen: set[tuple[int, ...]] = set()

    def take(
        self, state: State, step: int, compiling: Callable[[str], None]
    ) -> tuple[State, Mapping[str, Any]]:
        batch = next(self._batches)
        if (shape := shape_of(batch)) not in self._seen:
            self._seen.add(shape)
            compiling(str(shape))
        if self._prepare is not None:
            batch = self._prepare(state, step, batch)
        return self._step(state, batch, self._rng)

    def note(self, metrics: Mapping[str, float]) -> str:
        return f"loss {metrics['loss']:.3f}" + (" SKIPPED" if metrics["skipped"] else "")

    def examples(self, step: int) -> Sequence[str]:
        return self._examples(step)


def run_loop(
    turns: Turns,
    state: State,
    cadence: Cadence,
    files: Files,
    evaluate: Evaluate,
    guard: DivergenceGuard,
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

    guard: looks at all metrics; a checkpoint is never written of a turn that it has yet to look at, nor amid leaps of
    the loss that count: then once they are over.

    Raises:
      Diverged: the guard found so; the last checkpoint stays.
      Stopped: a signal came; the state of the last step is saved.
      RewardFailed, InputError: of a turn or an evaluation; the state before it is saved.
    """
    with (
        progress(cadence.steps, turns.title, "step", initial=start) as bar,
        StopSignal() as stop,
    ):
        journal = _Journal(turns, cadence, files, evaluate, (bar, stop, guard), start)
        if evaluation_owed and not journal.evaluated(start, state):
            raise Stopped(stop.received or 0, start)
        unsaved = False
        for step in range(start + 1, cadence.steps + 1):
            state, metrics = journal.take(state, step)
            journal.settle(state)
            journal.pending = (step, metrics)
            if not turns.ahead:
                journal.settle(state)
            owed = False
            if cadence.is_due(cadence.evaluate_every, step):
                journal.settle(state)
                owed = not journal.evaluated(step, state)
            stopping = stop.agreed()  # asked once: a signal may come at any point
            if unsaved or cadence.is_due(cadence.save_every, step) or stopping:
                journal.settle(state)
                unsaved = guard.amid_leaps and not stopping and step < cadence.steps
                if not unsaved:
                    journal.save(step, state, owed)
            if stopping:
                break
        files.saver.wait()
        if stop.agreed_at_the_end():
            raise Stopped(stop.received or 0, int(state.step))
    guard.finish(cadence.steps)
    return state


class _Journal:
    """Takes turns and evaluates, and writes what they say. pending: the turn taken last, until its metrics are read."""

    def __init__(
        self,
        turns: Turns,
        cadence: Cadence,
        files: Files,
        evaluate: Evaluate,
        around: tuple[progress, StopSignal, DivergenceGuard],
        start: int,
    ):
        self._turns, self._cadence, self._files = turns, cadence, files
        self._evaluate, self._writer = evaluate, files.writer
        self._bar, self._stop, self._guard = around
        self._saved = start
        self._found: tuple[int, Mapping[str, float]] = (
            -1,
            {},
        )  # by the last evaluation, at its step
        self._last_time = time.monotonic()
        self.pending: tuple[int, Mapping[str, Any]] | None = None

    def take(self, state: State, step: int) -> tuple[State, Mapping[str, Any]]:
        """The turn `step`; where what it is given fails, the state before it is saved.

        Raises:
          RewardFailed, InputError: with the step.
        """
        try:
            return self._turns.take(state, step, self.compiling)
        except (RewardFailed, InputError) as error:
            raise self._left(error, step, state, step - 1, owed=False) from error

    def save(self, step: int, state: State, owed: bool) -> None:
        """Saves the state, with what a run that goes on is to know."""
        found, values = self._found
        about = {
            "evaluation_owed": owed,
            "divergence": self._guard.saved(),
            "metrics": values if found == step else {},
        }
        self._files.saver.save(step, state, {**self._files.metadata, **about})
        self._saved = step

    def _left(
        self, error: RewardFailed | InputError, step: int, state: State, done: int, *, owed: bool
    ) -> RewardFailed | InputError:
        """Saves the state of the step `done`, and gives the error of `step` to be raised."""
        self.settle(state)
        # Bad input may be that of one process, and all save together.
        together = isinstance(error, RewardFailed) or process_count() == 1
        if done > self._saved and together and not _is_gone(state):
            self.save(done, state, owed)
            self._files.saver.wait()
        if isinstance(error, InputError):
            return InputError(f"step {step}: {error}")
        error.step = step
        kept = f"step {self._saved} is saved" if self._saved else "nothing is trained yet"
        error.kept = f"{kept}; put that right, and the same command goes on"
        return error

    def compiling(self, shapes: str) -> None:
        """Says so, once the turn before is told of: this takes a while."""
        self.settle(None)
        self._bar.announce(f"compiling for {shapes}")

    def settle(self, state: State | None) -> None:
        """Reads and writes the metrics of the turn that was taken last. state: where weights that are not finite are
        looked for; of the turn, or of the next one.

        Raises:
          Diverged: the guard found so; what it was is written.
        """
        if self.pending is None:
            return
        step, metrics = self.pending
        self.pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        health = health_of(values)
        values = {name: v for name, v in values.items() if not name.endswith(CULPRIT)}
        now = time.monotonic()
        values["time/step_seconds"], self._last_time = now - self._last_time, now
        self._bar.note(self._turns.note(values))
        self._bar.update()
        diverged = None
        try:
            if self._guard.look(step, health, self._turns.tensors):
                log.warning("step %d: the loss leapt to %.4g", step, health.loss)
                values[SPIKE] = 1.0
        except Diverged as error:
            error.examples = list(self._turns.examples(error.first))
            error.tensor = error.tensor or first_not_finite(state)
            diverged = error
        # A step that went wrong is always told of: who counts the lines counts all of them.
        wrong = diverged or health.skipped or SPIKE in values
        if wrong or self._cadence.is_due(self._cadence.log_every, step):
            self._writer.write(step, values)
        if diverged:
            raise diverged

    def evaluated(self, step: int, state: State) -> bool:
        """Evaluates and writes the result; False if a signal left no time for it.

        Raises:
          RewardFailed, InputError: with the step; its state is saved, and the evaluation owed.
        """
        self._bar.note("evaluating", now=True)
        try:
            values = self._evaluate(state, self._stop.agreed)
        except (RewardFailed, InputError) as error:
            raise self._left(error, step, state, step, owed=True) from error
        self._last_time = time.monotonic()
        if values is None:
            return False
        if values:
            self._guard.evaluation(values)
            self._found = (step, values)
            self._writer.write(step, values)
            shown = (f"{name.partition('/')[2]} {value:.4g}" for name, value in values.items())
            log.info("step %d, evaluation: %s", step, ", ".join(shown))
        return True


def _is_gone(state: State) -> bool:
    """Whether a jitted step has taken the state's buffers."""
    return any(leaf.is_deleted() for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array))


def shape_of(batch: Batch) -> tuple[int, ...]:
    """(encoder length, decoder length, rows), in which batches differ."""
    rows, encoder_length = batch["encoder_input_tokens"].shape
    return encoder_length, batch["decoder_input_tokens"].shape[1], rows
