#!/usr/bin/env python
"""Runs for long, and sees that nothing grows: memory, open files, threads, compilations.

    python scripts/soak.py                              # an hour of PPO with saves, 10,000 steps of the nano recipe
    python scripts/soak.py --runs ppo --minutes 4       # less of it
    python scripts/soak.py --runs nano --steps 500

A real run is started, and its process is looked at from outside every few seconds (/proc, Linux alone); compilations
are counted in its log. What comes before the first checkpoint, and a third of the time from there on, is warm-up
(compiling, caches, the first evaluation); over the rest a straight line is fitted. A run is flat if that line rises by
less than 3 % of the memory or 16 MB, whichever is more, by less than two files and two threads, and if nothing is
compiled in it; three standard errors of the line are forgiven, for saves open files for a moment. The table is
OUT/soak.md, the samples OUT/NAME.jsonl; the exit status is 1 if a run is not flat, or ends with another status than 0
(done) or 75 (its time is over).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

_WARM_UP = 1 / 3
_FEWEST_SAMPLES = 12
# jax writes it of each program that it compiles, or takes from its cache.
_COMPILED = b"Finished XLA compilation"
_LIMITS = {
    "memory, MB": (0.03, 16.0),
    "open files": (0.0, 2.0),
    "threads": (0.0, 2.0),
    "compilations": (0.0, 0.5),
}
_RUNS = {
    # With a save at every fifth step and an evaluation at every tenth.
    "ppo": (
        "--config=lab3_ppo.py:runlocal", "--config.ppo.steps=1000000", "--config.checkpoint.every_steps=5",
        "--config.evaluation.every_steps=10",
    ),
    "nano": ("--config=nano.py", "--config.checkpoint.every_steps=100", "--config.evaluation.every_steps=500"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Line:
    """A quantity over time: its median, by how much its line rises over the time that was measured, with the standard
    error of that, and an hour.
    """

    name: str
    median: float
    rise: float
    error: float
    an_hour: float

    @property
    def flat(self) -> bool:
        share, least = _LIMITS[self.name]
        return self.rise - 3 * self.error <= max(share * self.median, least)


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, good = [], True
    for name in options.runs:
        status, samples = _soaked(name, options)
        lines = fitted(samples)
        good &= status in (0, 75) and all(line.flat for line in lines)
        minutes = samples[-1]["seconds"] / 60 if samples else 0.0
        for line in lines:
            rise = f"{line.rise:+.2f} ± {line.error:.2f}"
            rows.append(
                f"| {name} ({minutes:.1f} min, status {status}) | {line.name} | {line.median:.1f} | {rise} |"
                f" {line.an_hour:+.1f} | {'yes' if line.flat else 'no'} |"
            )
        if not lines:
            good = False
            rows.append(f"| {name} (status {status}) | too few samples | | | | no |")
    head = (
        "| run | what | median | rise after warm-up | an hour | flat |\n|---|---|---|---|---|---|\n"
    )
    table = head + "\n".join(rows) + "\n"
    (options.out / "soak.md").write_text(table)
    print(table)
    return int(not good)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", nargs="+", default=list(_RUNS), choices=_RUNS)
    parser.add_argument("--minutes", type=float, default=60.0, help="of PPO")
    parser.add_argument("--steps", type=int, default=10_000, help="of the nano recipe")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/soak"))
    return parser.parse_args()


def _soaked(name: str, options: argparse.Namespace) -> tuple[int, list[dict[str, float]]]:
    """The exit status of a run, and what its process was like."""
    folder, errors = options.out / name, options.out / f"{name}.log"
    shutil.rmtree(folder, ignore_errors=True)
    length = (
        f"--config.stop_after={round(options.minutes * 60)}s"
        if name == "ppo"
        else f"--config.train.steps={options.steps}"
    )
    command = [sys.executable, "-m", "t5x_lite", *_RUNS[name], length, f"--workdir={folder}"]
    samples: list[dict[str, float]] = []
    with errors.open("wb") as log:
        begun = time.monotonic()
        process = subprocess.Popen(command, stderr=log, env=os.environ | {"JAX_LOG_COMPILES": "1"})
        try:
            while process.poll() is None:
                time.sleep(options.every)
                sample = _looked_at(process.pid, errors)
                if sample and any((folder / "checkpoints").glob("[0-9]*")):
                    samples.append({"seconds": time.monotonic() - begun, **sample})
        finally:
            process.kill()
    with (options.out / f"{name}.jsonl").open("w") as stream:
        stream.writelines(json.dumps(sample) + "\n" for sample in samples)
    return process.wait(), _while_training(samples, folder)


def _looked_at(pid: int, errors: pathlib.Path) -> dict[str, float]:
    """What a process is like now; {} where it has just ended."""
    place = pathlib.Path(f"/proc/{pid}")
    try:
        pages = int((place / "statm").read_text().split()[1])
        files, threads = len(os.listdir(place / "fd")), len(os.listdir(place / "task"))
    except OSError:
        return {}
    return {
        "memory, MB": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "open files": files,
        "threads": threads,
        "compilations": errors.read_bytes().count(_COMPILED),
    }


def _while_training(
    samples: list[dict[str, float]], folder: pathlib.Path
) -> list[dict[str, float]]:
    """The samples until the last checkpoint: scoring and exporting behind it are other work."""
    saved = [path.stat().st_mtime for path in (folder / "checkpoints").glob("[0-9]*")]
    if not saved or not samples:
        return samples
    end = samples[-1]["seconds"] - (time.time() - max(saved))
    return [sample for sample in samples if sample["seconds"] <= end]


def fitted(samples: Sequence[dict[str, float]]) -> list[Line]:
    """A line for each quantity over all but the first third of the time; [] of too few samples."""
    if not samples:
        return []
    begin = samples[0]["seconds"] + _WARM_UP * (samples[-1]["seconds"] - samples[0]["seconds"])
    rest = [sample for sample in samples if sample["seconds"] >= begin]
    if len(rest) < _FEWEST_SAMPLES:
        return []
    seconds = np.array([sample["seconds"] for sample in rest])
    found = []
    for name in _LIMITS:
        values = np.array([sample[name] for sample in rest])
        slope = float(np.polyfit(seconds - seconds.mean(), values, 1)[0])
        span, around = float(seconds[-1] - seconds[0]), seconds - seconds.mean()
        rest_of = values - values.mean() - slope * around
        error = float(np.sqrt((rest_of**2).sum() / (len(values) - 2) / (around**2).sum()))
        found.append(Line(name, float(np.median(values)), slope * span, error * span, 3600 * slope))
    return found


if __name__ == "__main__":
    sys.exit(main())
