"""A handful of faults on real processes; scripts/fault_injection.py tries all of them (docs/resume.md)."""

import pathlib
import re
import subprocess
import sys

import fault_cases
import fault_runs
import pytest
from fault_cases import Struck

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_handful_of_faults(tmp_path):
    """Dropout, accumulation, and over the ends of epochs: killed at random, a damaged checkpoint, a second run."""
    run = subprocess.run(
        [sys.executable, "scripts/fault_injection.py", "--quick", "--out", str(tmp_path)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    landed, same = re.findall(r"^(\d+) faults on \d+ cores, (\d+) of them", run.stdout)[0]
    assert int(landed) >= 3 and landed == same
    assert {"killed", "damaged_file", "second_run"} == {
        line.split()[1] for line in run.stdout.splitlines() if line.startswith("finetune ")
    }


@pytest.fixture
def left(tmp_path):
    """What a run left: metrics, a model, a report."""
    (tmp_path / "model").mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5, "time/step_seconds": 0.1}\n')
    (tmp_path / "model" / "weights").write_bytes(b"\x00\x01")
    (tmp_path / "report.json").write_text(
        '{"training": {"minutes in steps": 3.0, "last loss": 1.5}}'
    )
    return tmp_path


@pytest.mark.parametrize(
    ("file", "before", "after", "differs"),
    [
        ("metrics.jsonl", "0.1", "0.2", []),
        ("metrics.jsonl", "2.5", "2.5000001", ["metrics.jsonl"]),
        ("report.json", "3.0", "4.0", []),
        ("report.json", "1.5", "NaN", ["report.json"]),
        ("model/weights", "\x01", "\x03", ["model/weights"]),
    ],
)
def test_a_difference_is_found(left, file, before, after, differs):
    """A comparison that finds nothing would hold for everything."""
    expected = fault_runs.left_by(left)
    assert len(expected) == 3
    (left / file).write_text((left / file).read_text().replace(before, after))
    assert fault_runs.differences(fault_runs.left_by(left), expected) == differs
    (left / file).unlink()
    assert fault_runs.differences(fault_runs.left_by(left), expected) == [file]


def test_every_task_that_is_tried_has_a_command():
    for task in fault_cases.TASKS:
        assert fault_cases.command_of(task)[0].startswith("--config=")
    assert Struck("now", [2], [2]).expected == [2]
