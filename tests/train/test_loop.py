"""The loop's order of events, to the letter; and how it stops."""

import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

from t5x_lite.errors import Diverged, Stopped
from t5x_lite.train.divergence import DivergenceGuard
from t5x_lite.train.loop import Cadence, Files, StepTurns, run_loop
from t5x_lite.train.sections import DivergenceSettings
from t5x_lite.train.signals import deadline

BATCH = {"encoder_input_tokens": np.zeros((2, 3)), "decoder_input_tokens": np.zeros((2, 4))}


class State(NamedTuple):
    """step: int32, the steps taken."""

    step: np.int32


class Recorder:
    """Stands for everything around the loop and writes down what happens in which order.

    `during`: {event: function to call amid it}. `gives_up`: the evaluation looks for a signal, as the real one does.
    """

    def __init__(self, during=None):
        self.events = []
        self.during = during or {}
        self.written = []

    def _note(self, *event):
        self.events.append(event)
        if event in self.during:
            self.during[event]()

    def train_step(self, state, batch, rng):
        step = state.step + 1
        self._note("dispatch", step)
        recorder = self

        class Metric:
            """A number on a device: what reads it is noticed."""

            def __init__(self, name, value):
                self.name, self.value = name, value

            def __float__(self):
                if self.name == "loss":
                    recorder._note("read", step)
                return self.value

        metrics = {"loss": Metric("loss", float(step)), "skipped": Metric("skipped", 0.0)}
        return State(step), metrics

    def write(self, step, metrics):
        kind = "evaluation" if "evaluation/loss" in metrics else "metrics"
        self._note(f"write {kind}", step)
        self.written.append((step, dict(metrics)))

    def evaluate(self, state, stopping):
        self._note("evaluate", state.step)
        return None if stopping() else {"evaluation/loss": 10.0 + state.step}

    def save(self, step, state, metadata):
        assert state.step == step and metadata["seed"] == 7
        self._note("save", step, metadata["evaluation_owed"])

    def wait(self):
        self._note("wait")


SETTINGS = DivergenceSettings(3, 10, 0, 0.0, False, "stop", 0)


def run(
    recorder,
    *,
    start=0,
    steps=5,
    log_every=1,
    evaluate_every=2,
    save_every=3,
    owed=False,
    settings=SETTINGS,
):
    batches = iter([BATCH] * (steps - start))
    return run_loop(
        StepTurns(
            recorder.train_step,
            batches,
            None,
            ["a/kernel", "b/kernel"],
            lambda step: [f"row {step}"],
        ),
        State(np.int32(start)),
        Cadence(steps, log_every, evaluate_every, save_every),
        Files(recorder, recorder, {"seed": 7}),
        recorder.evaluate,
        DivergenceGuard(settings, {}),
        start=start,
        evaluation_owed=owed,
    )


def settled(step):
    return [("read", step), ("write metrics", step)]


def evaluated(step):
    return [("evaluate", step), ("write evaluation", step)]


def test_order_of_events():
    """Metrics of step n are read after step n + 1 is dispatched, or before what looks at the state of step n."""
    recorder = Recorder()
    assert run(recorder).step == 5
    assert recorder.events == [
        ("dispatch", 1),
        ("dispatch", 2),
        *settled(1),
        *settled(2),
        *evaluated(2),
        ("dispatch", 3),
        *settled(3),
        ("save", 3, False),
        ("dispatch", 4),
        *settled(4),
        *evaluated(4),
        ("dispatch", 5),
        *settled(5),
        *evaluated(5),
        ("save", 5, False),
        ("wait",),
    ]


def test_far_from_any_event_the_loop_is_one_step_ahead():
    recorder = Recorder()
    run(recorder, steps=4, evaluate_every=100, save_every=100)
    expected = [("dispatch", 1)]
    for step in (2, 3, 4):
        expected += [("dispatch", step), *settled(step - 1)]
    assert recorder.events[: len(expected)] == expected


def test_writes_every_so_often_and_at_the_end():
    recorder = Recorder()
    run(recorder, steps=7, log_every=3, evaluate_every=100, save_every=100)
    losses = {step: metrics["loss"] for step, metrics in recorder.written if "loss" in metrics}
    assert losses == {3: 3.0, 6: 6.0, 7: 7.0}
    assert all(m["time/step_seconds"] >= 0 for _, m in recorder.written if "loss" in m)


def test_resumes_behind_the_start():
    recorder = Recorder()
    run(recorder, start=3)
    assert recorder.events[:2] == [("dispatch", 4), *settled(4)][:2]
    assert [event for event in recorder.events if event[0] == "dispatch"] == [
        ("dispatch", 4),
        ("dispatch", 5),
    ]


def send(number):
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_its_step(number):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    recorder = Recorder({("dispatch", 1): send(number)})
    with pytest.raises(Stopped) as stopped:
        run(recorder)
    assert (stopped.value.step, stopped.value.signal_number) == (1, number)
    assert recorder.events == [("dispatch", 1), *settled(1), ("save", 1, False), ("wait",)]
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_evaluation_that_a_signal_left_no_time_for_is_owed():
    recorder = Recorder({("dispatch", 2): send(signal.SIGTERM)})
    with pytest.raises(Stopped):
        run(recorder)
    assert ("write evaluation", 2) not in recorder.events
    assert recorder.events[-2:] == [("save", 2, True), ("wait",)]
    # The resumed run begins with it.
    resumed = Recorder()
    run(resumed, start=2, owed=True)
    assert resumed.events[:3] == [*evaluated(2), ("dispatch", 3)]
    # Together they wrote what a run that never stopped writes.
    whole = Recorder()
    run(whole)
    times = {"time/step_seconds"}
    written = [
        [(step, {k: v for k, v in metrics.items() if k not in times}) for step, metrics in each]
        for each in (recorder.written + resumed.written, whole.written)
    ]
    assert written[0] == written[1]


def test_a_run_may_begin_with_an_evaluation():
    recorder = Recorder()
    run(recorder, steps=1, owed=True)
    assert recorder.events[:3] == [*evaluated(0), ("dispatch", 1)]


def test_a_signal_amid_an_owed_evaluation_owes_it_still():
    """Nothing new to save: the checkpoint that owes it is there."""
    recorder = Recorder({("evaluate", 2): send(signal.SIGTERM)})
    with pytest.raises(Stopped) as stopped:
        run(recorder, start=2, owed=True)
    assert stopped.value.step == 2
    assert recorder.events == [("evaluate", 2)]


@pytest.mark.parametrize(
    ("amid", "owed"), [(("dispatch", 5), True), (("write evaluation", 5), False)]
)
def test_a_signal_in_the_last_step_is_not_swallowed(amid, owed):
    """What comes after training (scoring, say) may take long."""
    recorder = Recorder({amid: send(signal.SIGTERM)})
    with pytest.raises(Stopped) as stopped:
        run(recorder)
    assert stopped.value.step == 5
    assert recorder.events[-2:] == [("save", 5, owed), ("wait",)]
    if owed:
        resumed = Recorder()
        assert run(resumed, start=5, owed=True).step == 5
        assert resumed.events == [*evaluated(5), ("wait",)]


def test_a_second_signal_stops_at_once():
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    recorder = Recorder({("dispatch", 2): twice})
    with pytest.raises(KeyboardInterrupt):
        run(recorder)
    assert recorder.events[-1] == ("dispatch", 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_runs_outside_the_main_thread():
    """Where no signal handler may be set."""
    recorder, results = Recorder(), []
    thread = threading.Thread(target=lambda: results.append(run(recorder).step))
    thread.start()
    thread.join()
    assert results == [5]


def test_a_step_that_was_skipped_is_written():
    recorder = Recorder()
    inner = recorder.train_step

    def train_step(state, batch, rng):
        state, metrics = inner(state, batch, rng)
        metrics["skipped"].value = 1.0
        return state, metrics

    recorder.train_step = train_step
    with pytest.raises(Diverged, match="all of its 1 updates were skipped"):
        run(recorder, steps=1)
    assert recorder.written[0][1]["skipped"] == 1.0


def test_a_step_that_was_skipped_is_written_between_those_that_are_due():
    """So that their number in a report is that of all steps."""
    recorder = Recorder()
    inner = recorder.train_step

    def train_step(state, batch, rng):
        state, metrics = inner(state, batch, rng)
        metrics["skipped"].value = float(state.step in (2, 5))
        return state, metrics

    recorder.train_step = train_step
    run(recorder, steps=9, log_every=4, evaluate_every=100, save_every=100)
    skipped = {step: m["skipped"] for step, m in recorder.written if "skipped" in m}
    assert skipped == {2: 1.0, 4: 0.0, 5: 1.0, 8: 0.0, 9: 0.0}


def with_metrics(recorder, **functions):
    """The recorder, whose steps have further metrics: name -> function of the step."""
    inner = recorder.train_step

    def train_step(state, batch, rng):
        state, metrics = inner(state, batch, rng)
        extra = {name: function(state.step) for name, function in functions.items()}
        return state, {**metrics, **extra}

    recorder.train_step = train_step
    return recorder


def test_a_run_that_diverges_ends_with_what_is_known_of_it():
    """Steps 3 and on are skipped; the third in a row is read once step 6 is dispatched, and no later step is saved."""
    recorder = with_metrics(
        Recorder(), skipped=lambda step: float(step >= 3), culprit=lambda step: 1.0
    )
    with pytest.raises(Diverged) as diverged:
        run(recorder, steps=50, evaluate_every=100, save_every=2)
    error = diverged.value
    assert (error.first, error.step, error.tensor) == (3, 5, "b/kernel")
    assert str(error) == (
        "diverged at step 3: 3 updates in a row were skipped by step 5; the first tensor that is not finite is"
        " b/kernel; the batch of step 3 has the rows row 3"
    )
    steps = [event[1] for event in recorder.events if event[0] == "dispatch"]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in recorder.written] == [1, 2, 3, 4, 5]
    assert all("culprit" not in metrics for _, metrics in recorder.written)


def test_weights_that_are_not_finite_are_never_saved():
    """Even where skipped updates are no matter: there is nothing to go on with."""
    recorder = with_metrics(
        Recorder(), param_norm=lambda step: float("nan") if step == 3 else float(step)
    )
    policy = DivergenceSettings(0, 10, 0, 0.0, False, "skip", 0)
    with pytest.raises(Diverged, match="step 3: the update left weights without a finite norm"):
        run(recorder, evaluate_every=100, save_every=1, settings=policy)
    assert [event[1] for event in recorder.events if event[0] == "save"] == [1, 2]


def test_an_evaluation_that_ends_without_a_number_is_no_success():
    recorder = Recorder()
    recorder.evaluate = lambda state, stopping: {"evaluation/loss": float("nan")}
    with pytest.raises(Diverged, match="the last evaluation"):
        run(recorder)
    run(recorder, settings=DivergenceSettings(0, 10, 0, 0.0, False, "skip", 0))


def test_amid_leaps_that_count_no_checkpoint_is_written():
    """Due at 24, it is written at 27, once the leap is over."""
    losses = {24: 90.0, 25: 90.0, 26: 90.0}
    recorder = with_metrics(Recorder(), loss=lambda step: losses.get(step, 1.0 + 0.01 * (step % 2)))
    policy = DivergenceSettings(5, 40, 0, 7.0, True, "stop", 0)
    run(recorder, steps=30, log_every=100, evaluate_every=100, save_every=12, settings=policy)
    assert [event[1] for event in recorder.events if event[0] == "save"] == [12, 27, 30]
    assert [step for step, metrics in recorder.written if "loss_spike" in metrics] == [24, 25, 26]


def test_a_deadline_stops_in_order():
    """Of several around, the first one counts; without one nothing stops."""
    recorder = Recorder({("dispatch", 2): lambda: time.sleep(0.25)})
    with deadline(3600), deadline(0.2), pytest.raises(Stopped) as stopped:
        run(recorder, evaluate_every=100, save_every=100)
    assert (stopped.value.step, stopped.value.signal_number) == (2, 0)
    assert recorder.events[-2:] == [("save", 2, False), ("wait",)]
    with deadline(0):
        assert run(Recorder()).step == 5


# A step that takes a minute in one call, as a compilation does: no Python of the main thread runs in between.
STUCK = """
import ctypes, sys, threading, time
from t5x_lite.train.signals import StopSignal, leave_at_once
with leave_at_once(), StopSignal():
    print("in", flush=True)
    ctypes.CDLL(None).poll(None, 0, 60_000)
    ctypes.CDLL(None).poll(None, 0, 60_000)
"""


def test_a_second_ctrl_c_leaves_at_once_even_amid_a_call_that_takes_long():
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job ignores SIGINT, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "t5x-lite: left at once; the last checkpoint is kept"
