"""The program in processes of its own, stopped by a true signal and started again."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import pytest

from t5x_lite.errors import Stopped
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import supervised

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Steps of 0.3 s, so that the signal comes amid them.
SLOW_PROGRAM = """
import sys, time
from t5x_lite.wiring import supervised
iterate = supervised.iterate
def slowly(*arguments, **settings):
    for batch in iterate(*arguments, **settings):
        time.sleep(0.3)
        yield batch
supervised.iterate = slowly
from t5x_lite.main import run
run()
"""


def test_sigterm_to_the_program_and_the_same_command_again(finished, tiny, tmp_path):
    """What a preempted machine does, in processes of their own; the result is that of the run never stopped."""
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(len(jax.devices())),
    }
    changes = [f"--config.{field}={value}" for field, value in tiny.items()]
    command = ["--config", "quickstart.py:runlocal", f"--workdir={tmp_path}", *changes]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_PROGRAM, *command],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_text().count("\n")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 143, errors
    assert "SIGTERM: saving a checkpoint" in errors and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("t5x-lite: stopped at step ")
    again = subprocess.run(
        [sys.executable, "-m", "t5x_lite", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    assert "going on from step" in again.stderr and "report.md" in again.stderr
    assert "| baseline shuffled |" in again.stderr
    for name in ("model/model.safetensors", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()


@pytest.mark.slow
def test_a_deadline_and_the_same_run_again(finished, tiny_config, tmp_path, monkeypatch):
    """Steps of 0.5 s, and a deadline of one second; the run that goes on ends as the one that never stopped."""
    iterate = supervised.iterate

    def slowly(*arguments, **settings):
        for batch in iterate(*arguments, **settings):
            time.sleep(0.5)
            yield batch

    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr(supervised, "iterate", slowly)
        finetune.run(tiny_config({"stop_after": "1s"}), str(tmp_path))
    assert stopped.value.signal_number == 0 and 0 < stopped.value.step < 6
    finetune.run(tiny_config(), str(tmp_path))
    for name in ("model/model.safetensors", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()
