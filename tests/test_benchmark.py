"""The benchmark runs, and refuses to time two sides that do not compute the same."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"
FLAGS = "--model tiny --batch 2 --encoder-length 32 --decoder-length 16 --new-tokens 8 --repeats 2"


def run(script: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *FLAGS.split(), *flags],
        env=os.environ | {"PYTHONPATH": str(SCRIPTS.parent), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_both_cases_are_timed(tmp_path: pathlib.Path):
    result = run(SCRIPTS / "benchmark.py", "--output", str(tmp_path / "out.json"))
    assert result.returncode == 0, result.stderr[-3000:]
    record = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    for case in record["results"]:
        for side, row in case["sides"].items():
            assert len(row["seconds"]) == 2
            assert f"| {case['case']} | {side} |" in result.stdout
    assert {case["case"] for case in record["results"]} == {"train_step", "greedy"}


@pytest.mark.slow
def test_another_learning_rate_is_noticed(tmp_path: pathlib.Path):
    """The losses of two steps are compared, so a wrong update shows before anything is timed."""
    cases = (SCRIPTS / "benchmark_cases.py").read_text(encoding="utf-8")
    assert "lr=LEARNING_RATE" in cases
    (tmp_path / "benchmark_cases.py").write_text(
        cases.replace("lr=LEARNING_RATE", "lr=2 * LEARNING_RATE"), encoding="utf-8"
    )
    script = tmp_path / "benchmark.py"
    script.write_text((SCRIPTS / "benchmark.py").read_text(encoding="utf-8"), encoding="utf-8")
    result = run(script, "--cases", "train_step", "--output", str(tmp_path / "out.json"))
    assert result.returncode == 1
    assert "the sides disagree" in result.stderr
