"""Notices of preemption, from a stand-in for the metadata server of Google's cloud."""

import logging
import signal
import time

import pytest

from t5x_lite.errors import Stopped
from t5x_lite.train import preemption
from t5x_lite.train.preemption import preemption_watched
from t5x_lite.train.signals import PREEMPTED, StopSignal, preempted
from tests.metadata_server import Metadata
from tests.train.test_loop import Recorder, run


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(preemption, "_SECONDS", 0.02)
    with Metadata() as found:
        monkeypatch.setenv("GCE_METADATA_HOST", found.host)
        yield found


def noticed(server, name, value):
    """Announces it, and waits until it has come."""

    def announce():
        server.values[name] = value
        assert preempted.wait(20)

    return announce


@pytest.mark.parametrize(
    ("name", "value"),
    [("preempted", "TRUE"), ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")],
)
def test_a_notice_stops_in_order(server, name, value, caplog):
    caplog.set_level(logging.WARNING)
    recorder = Recorder({("dispatch", 2): noticed(server, name, value)})
    with preemption_watched(True), pytest.raises(Stopped) as stopped:
        run(recorder, evaluate_every=100, save_every=100)
    assert (stopped.value.step, stopped.value.signal_number) == (2, PREEMPTED)
    assert recorder.events[-2:] == [("save", 2, False), ("wait",)]
    assert f"about to be taken away ({name}: {value})" in caplog.text
    assert not preempted.is_set(), "the next run of this process is another one"


def test_without_a_notice_nothing_stops(server):
    server.values["maintenance-event"] = "MIGRATE_ON_HOST_MAINTENANCE"
    with preemption_watched(True):
        assert run(Recorder({("dispatch", 2): lambda: time.sleep(0.2)})).step == 5
    assert server.asked > 4 and server.flavors == {"Google"}
    before = server.asked
    with preemption_watched(False):
        assert run(Recorder({("dispatch", 2): lambda: time.sleep(0.1)})).step == 5
    assert server.asked == before


def test_where_no_server_answers_a_line_says_so(monkeypatch, caplog):
    monkeypatch.setenv("GCE_METADATA_HOST", "localhost:9")
    with preemption_watched(True):
        deadline = time.monotonic() + 20
        while "no metadata server answers at localhost:9" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert run(Recorder()).step == 5


def test_a_server_that_is_away_for_a_while_is_asked_again(server):
    with preemption_watched(True):
        while server.asked < 2:
            time.sleep(0.01)
        server.values["preempted"] = ""  # an error
        time.sleep(0.1)
        server.values["preempted"] = "TRUE"
        assert preempted.wait(20)


def test_the_signal_of_the_shutdown_behind_a_notice_is_the_first_one(server):
    """It does not end the run amid its checkpoint."""
    with preemption_watched(True), StopSignal() as stop:
        noticed(server, "preempted", "TRUE")()
        assert stop.agreed() and stop.received == PREEMPTED
        signal.raise_signal(signal.SIGTERM)
        assert stop.agreed() and stop.received == PREEMPTED
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
