"""The one training loop: dispatch a step, read the metrics of the step before it, evaluate, save, stop in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax

from t5x_lite.console import log, progress
from t5x_lite.errors import Stopped
from t5x_lite.train.signals import StopSignal
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import Batch, Metrics

TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
# (state, stopping) -> metrics; None if it gave up because `stopping()` became true.
Evaluate = Callable[[TrainState, Callable[[], bool]], Mapping[str, float] | None]


class Writer(Protocol):
    """Where metrics go."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics of a step."""


class Saver(Protocol):
    """Where states go."""

    def save(self, step: int, state: TrainState, metadata: Mapping[str, Any]) -> None:
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
    evaluate: Evaluate,
    evaluate_every: int,
    saver: Saver,
    save_every: int,
    metadata: Mapping[str, Any],
    evaluation_owed: bool,
) -> TrainState:
    """Trains from step `start` to step `steps`; steps are numbered from 1 in metrics and checkpoints.

    The metrics of step n are read while step n + 1 computes. At every `evaluate_every`-th step and the last one
    `evaluate` runs; everything of a step is written before its checkpoint is, so that a resumed run repeats nothing.

    A signal ends the run after the step, or amid the evaluation, that it comes in. An evaluation that it left no time
    for is owed: the checkpoint's metadata says so, and the resumed run begins with it.

    Args:
      train_step: jitted, donating its state.
      batches: device batches from step `start` on.
      writer: gets every `log_every`-th step, and time/step_seconds (times are the one thing that differs between
        a resumed run and one that never stopped).
      metadata: saved with every checkpoint, beside `evaluation_owed`.

    Raises:
      Stopped: a signal came; the state of the last step is saved.
    """
    pending: tuple[int, Metrics] | None = None
    seen: set[tuple[int, ...]] = set()
    last_time = time.monotonic()

    def settle(bar: progress) -> None:
        """Reads and writes the metrics of the step that was dispatched last."""
        nonlocal pending, last_time
        if pending is None:
            return
        step, metrics = pending
        pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.monotonic()
        values["time/step_seconds"], last_time = now - last_time, now
        bar.note(f"loss {values['loss']:.3f}" + (" SKIPPED" if values["skipped"] else ""))
        bar.update()
        if step % log_every == 0 or step == steps:
            writer.write(step, values)

    def evaluated(step: int, bar: progress) -> bool:
        """Evaluates and writes the result; False if a signal left no time for it."""
        nonlocal last_time
        bar.note("evaluating", now=True)
        values = evaluate(state, stop.agreed)
        last_time = time.monotonic()
        if values is None:
            return False
        writer.write(step, values)
        shown = (f"{name.partition('/')[2]} {value:.4g}" for name, value in values.items())
        log.info("step %d, evaluation: %s", step, ", ".join(shown))
        return True

    with progress(steps, "training", "step", initial=start) as bar, StopSignal() as stop:
        if evaluation_owed and not evaluated(start, bar):
            raise Stopped(stop.received or 0, start)
        for step in range(start + 1, steps + 1):
            batch = next(batches)
            if (shape := shape_of(batch)) not in seen:
                settle(bar)
                seen.add(shape)
                bar.announce(f"compiling for {shape}")
            state, metrics = train_step(state, batch, base_rng)
            settle(bar)
            pending = (step, metrics)
            owed = False
            if step == steps or step % evaluate_every == 0:
                settle(bar)
                owed = not evaluated(step, bar)
            stopping = stop.agreed()  # asked once: a signal may come at any point
            if step == steps or step % save_every == 0 or stopping:
                settle(bar)
                saver.save(step, state, {**metadata, "evaluation_owed": owed})
            if stopping:
                break
        saver.wait()
        if stop.agreed_at_the_end():
            raise Stopped(stop.received or 0, int(state.step))
    return state


def shape_of(batch: Batch) -> tuple[int, ...]:
    """(encoder length, decoder length, rows), in which batches differ."""
    rows, encoder_length = batch["encoder_input_tokens"].shape
    return encoder_length, batch["decoder_input_tokens"].shape[1], rows
