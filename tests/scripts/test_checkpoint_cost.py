"""The cost of a checkpoint is measured, on the smallest model."""

import os
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_it_is_measured():
    repository = pathlib.Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "scripts/checkpoint_cost.py", "--size", "tiny", "--steps", "12"],
        cwd=repository, env=os.environ | {"PYTHONPATH": str(repository), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert run.stdout.startswith("tiny, 8 rows: a step ") and "at every 100 steps" in run.stdout, (
        run
    )
