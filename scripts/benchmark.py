#!/usr/bin/env python
"""Times t5x_lite beside transformers' torch T5: the same weights, batch and optimizer, in turns.

    python scripts/benchmark.py                            # the shape of flan-t5-small
    python scripts/benchmark.py --model tiny --repeats 3   # under a minute
    python scripts/benchmark.py --cases greedy --batch 1 --new-tokens 128

Each case runs both sides in processes of their own that take turns (A B A B ...), so that a
machine that slows down slows both, and neither side's threads or memory count for the other;
what the waiting side burns is measured and shown ("idle CPU"). Before anything is timed, the two
must agree: on the losses of two steps (so on forward, backward and AdamW), or on the generated
tokens. The first call (tracing, compiling, first allocations) is reported by itself. Peak memory
is the process's resident set, or the accelerator's memory where there is one.

The weights are random and dropout is off: two libraries that draw different dropout masks could
not be compared.
Needs the extra "test" (torch, transformers).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from typing import IO, Any

import numpy as np
from benchmark_cases import CASES, MODELS, Case, write_weights

SETTLE_SECONDS = 0.2


# --- One side, in a process of its own: JSON lines in, JSON lines out ---


def peak_memory_bytes(side: str) -> int:
    """The accelerator's peak where this side runs on one, else the peak of the resident set."""
    if side == "transformers":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    else:
        import jax

        device_memory = jax.local_devices()[0].memory_stats()
        if device_memory:
            return device_memory["peak_bytes_in_use"]
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux starts at what the parent had when it made this process.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


def serve(options: argparse.Namespace) -> None:
    """Sets one side up, then makes one call for each line on standard input."""
    # Standard output is the channel; whatever a library prints goes to standard error.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(**fields: Any) -> None:
        channel.write(json.dumps(fields) + "\n")
        channel.flush()

    call = CASES[options.cases[0]].sides[options.side](options)
    reply(peak_bytes=peak_memory_bytes(options.side))
    cpu_when_idle = time.process_time()
    for _ in sys.stdin:
        idle_cpu = time.process_time() - cpu_when_idle
        start = time.perf_counter()
        values = call()
        seconds = time.perf_counter() - start
        # Threads spin for a while after their work (OpenMP's do): answer once they have stopped.
        time.sleep(SETTLE_SECONDS)
        reply(
            seconds=seconds,
            idle_cpu=idle_cpu,
            values=values,
            peak_bytes=peak_memory_bytes(options.side),
        )
        cpu_when_idle = time.process_time()


class Side:
    """The parent's end of a side."""

    def __init__(self, name: str, case: str, options: argparse.Namespace):
        self.name = name
        flags = ["--side", name, "--cases", case, "--weights", options.weights]
        for field in ("model", "batch", "encoder_length", "decoder_length", "new_tokens", "dtype"):
            flags += [f"--{field.replace('_', '-')}", str(getattr(options, field))]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Else jax takes most of an accelerator's memory at once, and its peak says nothing.
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        self.setup = self._receive()

    def _receive(self) -> dict[str, Any]:
        channel: IO[str] = self.process.stdout  # type: ignore[assignment]
        line = channel.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}; see above")
        return json.loads(line)

    def call(self) -> dict[str, Any]:
        channel: IO[str] = self.process.stdin  # type: ignore[assignment]
        channel.write("call\n")
        channel.flush()
        return self._receive()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


# --- The parent: both sides in turns ---


def measure(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Runs one case; returns what the table shows, and every single time.

    Raises:
      SystemExit: the sides disagree; the message says by how much.
    """

    def say(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    with contextlib.ExitStack() as stack:
        sides = []
        for side_name in case.sides:
            say(f"starting {side_name}")
            sides.append(stack.enter_context(Side(side_name, name, options)))
        first = [side.call() for side in sides]
        second = [side.call() for side in sides]
        ours, theirs = (
            np.array([a["values"], b["values"]]) for a, b in zip(first, second, strict=True)
        )
        say("first calls took " + ", ".join(f"{reply['seconds']:.1f} s" for reply in first))
        disagreement = case.disagreement(ours, theirs)
        if not disagreement <= case.tolerance[options.dtype]:
            raise SystemExit(
                f"{name}: the sides disagree by {disagreement:.2g} (allowed:"
                f" {case.tolerance[options.dtype]:g}), so their times would not compare"
            )
        replies: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        for repeat in range(options.repeats):
            for side in sides:
                replies[side.name].append(side.call())
            last = ", ".join(f"{s} {r[-1]['seconds']:.3f} s" for s, r in replies.items())
            say(f"{repeat + 1}/{options.repeats}: {last}")
    tokens = case.tokens(options)
    result: dict[str, Any] = {"case": name, "disagreement": disagreement, "sides": {}}
    for side, reply in zip(sides, first, strict=True):
        seconds = [r["seconds"] for r in replies[side.name]]
        # While it waited, the other sides' calls went by: the share of one core that it used then.
        others = sum(
            r["seconds"] for other in replies if other != side.name for r in replies[other]
        )
        result["sides"][side.name] = {
            "median_seconds": statistics.median(seconds),
            "min_seconds": min(seconds),
            "max_seconds": max(seconds),
            "seconds": seconds,
            "tokens_per_second": tokens / statistics.median(seconds),
            "first_call_seconds": reply["seconds"],
            "peak_bytes": replies[side.name][-1]["peak_bytes"],
            "setup_peak_bytes": side.setup["peak_bytes"],
            "idle_cores": sum(r["idle_cpu"] for r in replies[side.name]) / others,
        }
    return result


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table; relative: over the time of the last side."""
    lines = [
        "| case | side | median s | min-max s | relative | tokens/s | first call s | peak GB | idle CPU |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        reference = list(result["sides"].values())[-1]["median_seconds"]
        for side, r in result["sides"].items():
            lines.append(
                f"| {result['case']} | {side} | {r['median_seconds']:.3f} |"
                f" {r['min_seconds']:.3f}-{r['max_seconds']:.3f} |"
                f" {r['median_seconds'] / reference:.2f} | {r['tokens_per_second']:,.0f} |"
                f" {r['first_call_seconds']:.1f} | {r['peak_bytes'] / 1e9:.2f} |"
                f" {r['idle_cores']:.1%} |"
            )
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--model", choices=MODELS, default="flan-t5-small")
    parser.add_argument("--batch", type=int, default=8, help="rows")
    parser.add_argument("--encoder-length", type=int, default=512, help="tokens")
    parser.add_argument("--decoder-length", type=int, default=128, help="tokens, train_step")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens a row, greedy")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each side")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmark.json"))
    parser.add_argument("--side", help=argparse.SUPPRESS)  # a worker's flags, given by the parent
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for field in ("batch", "encoder_length", "decoder_length", "new_tokens", "repeats"):
        if getattr(options, field) < 1:
            parser.error(f"--{field.replace('_', '-')} must be at least 1")
    return options


def main() -> None:
    options = parse_arguments()
    if options.side:
        serve(options)
        return
    load = os.getloadavg()[0]
    if load > 0.2 * (os.cpu_count() or 1):
        print(
            f"the machine is busy (load {load:.1f} on {os.cpu_count()} cores): other work slows the"
            " sides unequally, so these times say little",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory() as folder:
        options.weights = folder
        write_weights(options)
        results = [measure(name, CASES[name], options) for name in options.cases]
    settings = {k: v for k, v in vars(options).items() if k not in ("side", "weights", "output")}
    environment = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": load,
        **{package: version(package) for package in ("jax", "flax", "torch", "transformers")},
    }
    record = {"settings": settings, "environment": environment, "results": results}
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(table(results))
    print(f"\n{settings}\n{environment}\nwritten to {options.output}")


if __name__ == "__main__":
    main()
