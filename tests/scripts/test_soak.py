"""What the soak test takes for flat, and for growth; a short true run of it is slow."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soak

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def samples(**growth):
    """A minute: 20 s of warm-up, then 1000 MB, 30 files, 40 threads, 9 compilations, and so much more each second."""
    noise = np.random.default_rng(0)
    start = {"memory, MB": 1000.0, "open files": 30.0, "threads": 40.0, "compilations": 9.0}
    names = {
        "memory": "memory, MB",
        "files": "open files",
        "threads": "threads",
        "compilations": "compilations",
    }
    found = []
    for second in range(60):
        warm = min(second / 20, 1.0)
        sample = {name: value * warm for name, value in start.items()}
        sample["memory, MB"] += noise.normal(0, 3)
        for name, rate in growth.items():
            sample[names[name]] += max(0, second - 20) * rate
        found.append({"seconds": float(second), **sample})
    return found


def test_what_is_flat():
    assert [line.flat for line in soak.fitted(samples())] == [True] * 4


@pytest.mark.parametrize(
    ("name", "rate"), [("memory", 1.5), ("files", 0.1), ("threads", 0.1), ("compilations", 0.1)]
)
def test_growth_is_found(name, rate):
    lines = soak.fitted(samples(**{name: rate}))
    assert [line.name for line in lines if not line.flat] == [
        {"memory": "memory, MB", "files": "open files"}.get(name, name)
    ]


def test_of_too_few_samples_nothing_is_said():
    assert soak.fitted(samples()[:12]) == [] and soak.fitted([]) == []


@pytest.mark.slow
def test_a_minute_of_ppo(tmp_path):
    run = subprocess.run(
        [sys.executable, "scripts/soak.py", "--runs", "ppo", "--minutes", "1.5", "--out", str(tmp_path)],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert "status 75" in run.stdout and run.stdout.count("\n| ppo") == 4, run.stdout + run.stderr
