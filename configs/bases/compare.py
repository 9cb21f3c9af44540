"""Finished runs side by side."""

import pathlib

import t5x_lite

_EXAMPLES = pathlib.Path(t5x_lite.__file__).parent / "data" / "bundled" / "example_runs"

BASE = {
    "task": "compare", "seed": 0,
    "runs": (),  # pairs of a name and a workdir; the others are compared to the first
    "evaluation": {"bootstrap_samples": 2000, "samples": 5},
}  # fmt: skip
WORDS = {"runlocal": {"runs": tuple((name, f"{_EXAMPLES / name}") for name in ("greedy", "beams"))}}
