"""Programs compiled ahead of time, from shapes alone: nothing is allocated, nothing runs."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

from t5x_lite.errors import InputError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program as it was compiled, and its account, in bytes on each device.

    text: the optimized HLO.
    seconds: that tracing and compiling took.
    arguments: what it is called with, as it lies sharded. outputs: results that do not take the place of donated
      arguments. temporaries: activations and buffers at the worst moment. code: the program itself.
    available: what the compiler would have used at most, where it refused; None where the program fits.
    largest: (bytes, arrays that lie there one after the other) of the largest places in memory; [] where the compiler
      does not say.
    """

    text: str = dataclasses.field(repr=False)
    seconds: float
    arguments: int
    outputs: int
    temporaries: int
    code: int
    available: int | None
    largest: list[tuple[int, str]]

    @property
    def peak(self) -> int:
        """What a device must hold while the program runs."""
        return self.arguments + self.outputs + self.temporaries + self.code


def compile_ahead(
    lower: Callable[[], jax.stages.Lowered], arguments: Any, *, tpu: bool
) -> Compiled:
    """Compiles what `lower` traces. A program that does not fit is no error: its account says what it would need.

    Args:
      arguments: what the program takes, a tree of `jax.ShapeDtypeStruct` with shardings.
      tpu: whether the devices are a TPU's.

    Raises:
      InputError: the compiler gives no account of memory.
    """
    start = time.perf_counter()
    lowered = lower()
    if not tpu:
        return _with_account(lowered.compile(), None, [], start)
    with tempfile.TemporaryDirectory() as directory:
        # The text from libtpu itself: jaxlib reads its modules only where the two agree on every instruction, and gives
        # nothing for a program that does not fit.
        options: dict[str, str | bool] = {"xla_dump_to": directory, "xla_dump_hlo_as_text": True}
        try:
            compiled = lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            found = re.search(
                r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)", str(error)
            )
            if "RESOURCE_EXHAUSTED" not in str(error) or not found:
                raise
            needed, available = (float(found[i]) * _UNITS[found[i + 1]] for i in (1, 3))
            taken = device_bytes(arguments)
            return Compiled(
                text=_dumped(directory, "after_optimizations.txt"),
                seconds=time.perf_counter() - start,
                arguments=taken,
                outputs=0,
                temporaries=max(int(needed) - taken, 0),
                code=0,
                available=int(available),
                largest=_largest(_dumped(directory, "memory-usage-report.txt")),
            )
        return _with_account(
            compiled,
            _dumped(directory, "after_optimizations.txt"),
            _largest(_dumped(directory, "memory-usage-report.txt")),
            start,
        )


def device_bytes(tree: Any) -> int:
    """Bytes that a tree of arrays or `jax.ShapeDtypeStruct` with shardings takes on a device, without padding."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total


def _with_account(
    compiled: jax.stages.Compiled, text: str | None, largest: list[tuple[int, str]], start: float
) -> Compiled:
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    if memory is None:
        raise InputError("the compiler of these devices gives no account of memory")
    return Compiled(
        text=text or compiled.as_text() or "",
        seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        available=None,
        largest=largest,
    )


def _dumped(directory: str, name: str) -> str:
    """The largest of the dumped files of that name: small programs (constants) may be compiled beside the one."""
    files = sorted(pathlib.Path(directory).glob(f"*.{name}"), key=lambda file: file.stat().st_size)
    files = files or sorted(pathlib.Path(directory).glob(f"*-{name}"))
    if not files:
        raise InputError(f"the TPU compiler wrote no {name}: another libtpu than the tested one")
    return files[-1].read_text(encoding="utf-8", errors="replace")


def _largest(report: str) -> list[tuple[int, str]]:
    """The rows of the main memory's section, "cumulative; size; offset; values; arrays", the largest first."""
    section = report.partition("Memory Space: default")[2].partition("Memory Space:")[0]
    rows = []
    for line in section.splitlines():
        parts = [part.strip() for part in line.split(";")]
        size = re.match(r"([\d.]+)([KMGT]?)i?B", parts[1]) if len(parts) == 5 else None
        if size:
            rows.append((int(float(size[1]) * _UNITS[size[2]]), parts[4]))
    return sorted(rows, key=lambda row: -row[0])
