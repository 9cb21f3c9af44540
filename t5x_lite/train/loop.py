"""The one training loop: dispatch a step, read the metrics of the step before it, evaluate, save, stop in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax

from t5x_lite.console import progress
from t5x_lite.errors import Stopped
from t5x_lite.train.signals import StopSignal
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import Batch, Metrics

TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


class Writer(Protocol):
    """Where metrics go."""

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Writes the metrics of a step."""


class Saver(Protocol):
    """Where states go."""

    def save(self, step: int, state: TrainState, metadata: dict[str, Any]) -> None:
        """Starts saving the state; returns when its buffers may be donated."""

    def wait(self) -> None:
        """Waits until it is saved."""


def run_loop(
    train_step: TrainStep,
    state: TrainState,
    batches: Iterator[Batch],
    base_rng: jax.Array,
    *,
    start: int,
    steps: int,
    writer: Writer,
    log_every: int,
    evaluate: Callable[[TrainState], dict[str, float]],
    evaluate_every: int,
    saver: Saver,
    save_every: int,
    metadata: dict[str, Any],
    evaluation_owed: bool,
) -> TrainState:
    """Trains from step `start` to step `steps`; steps are numbered from 1 in metrics and checkpoints.

    The metrics of step n are read while step n + 1 computes. At every `evaluate_every`-th step and the last one
    `evaluate` runs; everything of a step is written before its checkpoint is, so that a resumed run repeats nothing.

    A signal leaves no time for an evaluation: the checkpoint's metadata then says that it is owed, and the resumed run
    begins with it.

    Args:
      train_step: jitted, donating its state.
      batches: device batches from step `start` on.
      writer: gets every `log_every`-th step, and time/step_seconds (times are the one thing that differs between
        a resumed run and one that never stopped).

    Raises:
      Stopped: a signal came; the state of the last step is saved.
    """
    pending: tuple[int, Metrics] | None = None
    last_time = time.monotonic()

    def settle(bar: progress) -> None:
        nonlocal pending, last_time
        if pending is None:
            return
        step, metrics = pending
        pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.monotonic()
        values["time/step_seconds"], last_time = now - last_time, now
        bar.update()
        bar.note(f"loss {values['loss']:.3f}" + (" SKIPPED" if values["skipped"] else ""))
        if step % log_every == 0 or step == steps:
            writer.write(step, values)

    with progress(steps, "training", "step", initial=start) as bar, StopSignal() as stop:
        if evaluation_owed:
            writer.write(start, evaluate(state))
        for step in range(start + 1, steps + 1):
            state, metrics = train_step(state, next(batches), base_rng)
            settle(bar)
            pending = (step, metrics)
            stopping = stop.received is not None
            due = step == steps or step % evaluate_every == 0
            if due and not stopping:
                settle(bar)
                writer.write(step, evaluate(state))
                last_time = time.monotonic()
            if step == steps or step % save_every == 0 or stopping:
                settle(bar)
                saver.save(step, state, metadata | {"evaluation_owed": due and stopping})
            if stopping and step < steps:
                saver.wait()
                assert stop.received is not None
                raise Stopped(stop.received, step)
    return state
