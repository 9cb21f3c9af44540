#!/usr/bin/env python
"""Measures how much saving a checkpoint costs the steps around it.

    python scripts/checkpoint_cost.py                  # the shape of t5-small, AdamW: 0.7 GB a checkpoint
    python scripts/checkpoint_cost.py --size base --rows 16

The same run twice, in processes of their own: once with a checkpoint after every few steps, once with the last one
alone. A checkpoint's cost is how much longer the steps take, altogether, for each one more: copying the state off the
devices, and what writing and hashing in the background take from the steps beside it (on a CPU, the same cores). The
share is that cost at a checkpoint every 100 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

# d_model, d_ff, heads, layers of each stack
_SIZES = {"tiny": (64, 128, 4, 2), "small": (512, 1024, 6, 8), "base": (768, 2048, 12, 12)}
_VOCABULARY = 32128
_COMPILING = 2  # steps at the beginning that are not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=_SIZES, default="small")
    parser.add_argument("--rows", type=int, default=8, help="of a batch, of 64 and 16 tokens")
    parser.add_argument("--steps", type=int, default=22)
    parser.add_argument("--every", type=int, default=5, help="steps between two checkpoints")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        without = _seconds(options, place / "without", 10 * options.steps)
        often = _seconds(options, place / "often", options.every)
        bytes_ = sum(file.stat().st_size for file in (place / "often/checkpoints").rglob("*"))
    saves = (options.steps - 1) // options.every  # the last one is behind the last step
    step = statistics.median(without)
    cost = (sum(often) - sum(without)) / saves
    print(
        f"{options.size}, {options.rows} rows: a step {step:.3f} s, a checkpoint of {bytes_ / 1e9:.2f} GB costs"
        f" {cost:.3f} s more ({saves} of them), {cost / (100 * step):.2%} at every 100 steps"
    )


def _seconds(options: argparse.Namespace, workdir: pathlib.Path, every: int) -> list[float]:
    """What each step took, but for the first ones."""
    width, inner, heads, layers = _SIZES[options.size]
    changes = {
        "model.architecture.d_model": width, "model.architecture.d_ff": inner,
        "model.architecture.num_heads": heads, "model.architecture.d_kv": 64,
        "model.architecture.num_encoder_layers": layers, "model.architecture.num_decoder_layers": layers,
        "model.architecture.vocab_size": _VOCABULARY, "train.steps": options.steps, "batch.size": options.rows,
        "checkpoint.every_steps": every, "checkpoint.keep": 1, "evaluation.every_steps": 10 * options.steps,
        "logging.tensorboard": False, "data.evaluation.limit": 2, "evaluation.bootstrap_samples": 2,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "t5x_lite", "--config=finetune.py:runlocal", f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in changes.items()),
    ]  # fmt: skip
    subprocess.run(command, check=True, env=os.environ | {"T5X_LITE_PROGRESS": "0"})
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    found = [float(line["time/step_seconds"]) for line in lines if "time/step_seconds" in line]
    return found[_COMPILING:]


if __name__ == "__main__":
    main()
