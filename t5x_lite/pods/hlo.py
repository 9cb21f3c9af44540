"""What a compiled program costs a device, read from its optimized HLO: FLOPs, bytes over the links, bytes of HBM.

Bodies of while loops count as often as they run (XLA's `cost_analysis` counts them once), and calls and fusions are
followed. Only matrix products count as FLOPs. What is inside a Pallas kernel is not seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from t5x_lite.pods.hlo_flops import convolution_flops, dot_flops
from t5x_lite.pods.hlo_groups import axes_between, groups_of, pairs_of
from t5x_lite.pods.hlo_loops import trip_count
from t5x_lite.pods.hlo_memory import ASYNC_START, hbm_bytes, is_async_mark, is_async_part
from t5x_lite.pods.hlo_text import HBM, Array, Computation, Instruction, Module, parse_module

ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE = "all-gather", "reduce-scatter", "all-reduce"
ALL_TO_ALL, PERMUTE = "all-to-all", "collective-permute"
KINDS = (ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE, ALL_TO_ALL, PERMUTE)

_NO_BUFFER = frozenset("parameter tuple get-tuple-element bitcast while conditional call".split())


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective of the program.

    axes: the mesh axes that it runs over. array: the whole of what is gathered, reduced or exchanged (of several, one).
    sent: bytes that each device sends each time, by the ring algorithms (n devices, S bytes of the whole): all-gather,
      reduce-scatter and all-to-all S (n - 1) / n, all-reduce twice that, collective-permute S (on average, where
      not every device sends).
    times: how often it runs; more than once inside a loop. op_name: where in the traced program it comes from.
    """

    kind: str
    axes: tuple[str, ...]
    array: Array
    sent: float
    times: int
    op_name: str


@dataclasses.dataclass(frozen=True)
class Buffer:
    """An array that the program makes in HBM. opcode: "parameter" for an argument."""

    array: Array
    opcode: str
    op_name: str


@dataclasses.dataclass
class Account:
    """Of one device, for one run of the program.

    unknown_loops: loops whose trips the program does not say; they were taken to run `unknown_trips` times.
    """

    flops: int = 0
    hbm_bytes: int = 0
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    buffers: list[Buffer] = dataclasses.field(default_factory=list)
    unknown_loops: int = 0

    def sent(self) -> dict[tuple[tuple[str, ...], str], float]:
        """Bytes that a device sends, by (mesh axes, kind)."""
        result: dict[tuple[tuple[str, ...], str], float] = {}
        for one in self.collectives:
            key = (one.axes, one.kind)
            result[key] = result.get(key, 0.0) + one.sent * one.times
        return result

    def largest_buffers(self, count: int) -> list[Buffer]:
        """The largest arrays, each of those that differ in type or origin once."""
        return sorted(dict.fromkeys(self.buffers), key=lambda one: -one.array.bytes)[:count]


def account(
    text: str,
    axes: Mapping[str, int],
    *,
    unknown_trips: int,
    slow_axis: tuple[str, int] | None = None,
) -> Account:
    """Reads the text of an optimized module.

    Args:
      text: `compiled.as_text()`.
      axes: the mesh's axes and their sizes, in order (`mesh.shape`).
      unknown_trips: what to take for loops whose trips depend on data (a token loop: the longest response).
      slow_axis: the mesh axis that goes from slice to slice, and the number of slices. What goes between them, the
        program hands to the hosts.

    Raises:
      ValueError: the text is no HLO module.
    """
    module = parse_module(text)
    result = Account()
    walk = _Walk(module, tuple(axes), tuple(axes.values()), unknown_trips, slow_axis, result)
    walk.visit(module.entry, 1)
    return result


@dataclasses.dataclass
class _Walk:
    module: Module
    axes: Sequence[str]
    sizes: Sequence[int]
    unknown_trips: int
    slow_axis: tuple[str, int] | None
    account: Account

    def visit(self, computation: Computation, times: int) -> None:
        for one in computation.instructions.values():
            self.account.hbm_bytes += times * hbm_bytes(one, computation, self.module)
            self._remember(one)
            self._count(one, computation, times)
            if one.opcode == "while":
                trips = trip_count(one, computation, self.module)
                if trips is None:
                    self.account.unknown_loops += 1
                    trips = self.unknown_trips
                self.visit(self._called(one, "body"), times * trips)
            elif one.opcode in ("call", "async-start"):
                called = one.called("calls") or one.called("to_apply")
                self.visit(self.module.computations[called or ""], times)
            elif one.opcode == "conditional":
                self._visit_dearest(one.branches, times)
            elif one.opcode == "fusion":
                self._visit_fusion(self._called(one, "calls"), times)

    def _visit_fusion(self, inside: Computation, times: int) -> None:
        every = inside.instructions.values()
        has_marks = any(map(is_async_mark, every))
        starts = {name for one in every if ASYNC_START in one.attributes for name in one.operands}
        for one in every:
            if _kind(one) and (has_marks or is_async_part(one)) and one.name not in starts:
                continue  # it is counted where it starts
            self._count(one, inside, times)
            if one.opcode == "fusion":
                self._visit_fusion(self._called(one, "calls"), times)

    def _visit_dearest(self, branches: Sequence[str], times: int) -> None:
        whole = self.account
        accounts = []
        for name in branches:
            self.account = Account()
            self.visit(self.module.computations[name], times)
            accounts.append(self.account)
        self.account = whole
        dearest = max(accounts, key=lambda one: (one.flops, one.hbm_bytes))
        for field in dataclasses.fields(Account):
            total = getattr(whole, field.name) + getattr(dearest, field.name)
            setattr(whole, field.name, total)

    def _count(self, one: Instruction, within: Computation, times: int) -> None:
        if one.opcode in ("dot", "convolution"):
            arrays = [within.instructions[name].arrays[0] for name in one.operands]
            if one.opcode == "dot":
                self.account.flops += times * dot_flops(one, arrays[0])
            else:
                self.account.flops += times * convolution_flops(one, *arrays)
        elif kind := _kind(one):
            self._count_collective(one, kind, within, times)
        elif one.opcode == "send" and self.slow_axis is not None:
            self._count_between_slices(one, *self.slow_axis, within, times)

    def _count_between_slices(
        self, one: Instruction, axis: str, slices: int, within: Computation, times: int
    ) -> None:
        written = one.attribute(r'_xla_megascale_transfer_type="([A-Z_]+)"') or ""
        kind = written.lower().replace("_", "-")
        kind = kind if kind in KINDS else PERMUTE
        array = within.instructions[one.operands[0]].arrays[0]
        sent = _sent(kind, array.bytes * (slices if kind == ALL_GATHER else 1), slices)
        self.account.collectives.append(Collective(kind, (axis,), array, sent, times, one.op_name))

    def _count_collective(
        self, one: Instruction, kind: str, within: Computation, times: int
    ) -> None:
        devices = math.prod(self.sizes)
        taken = [array for name in one.operands for array in within.instructions[name].arrays]
        size = sum(array.bytes for array in taken)
        groups = pairs_of(one.attributes) if kind == PERMUTE else groups_of(one.attributes, devices)
        axes = axes_between(groups, self.axes, self.sizes)
        if not axes:  # every device for itself
            return
        members = groups.shape[1]
        array = max(taken, key=lambda array: array.bytes)
        if kind == ALL_GATHER:  # each gives its part
            size *= members
            made = [other for other in one.arrays if other.size == array.size * members]
            array = made[0] if made else array
        if kind == ALL_REDUCE and _is_scattered(one, within, members):
            kind = REDUCE_SCATTER
        sent = _sent(kind, size, members)
        if kind == PERMUTE:
            sent *= int((groups[:, 0] != groups[:, 1]).sum()) / devices
        self.account.collectives.append(Collective(kind, axes, array, sent, times, one.op_name))

    def _called(self, one: Instruction, by: str) -> Computation:
        return self.module.computations[one.called(by) or ""]

    def _remember(self, one: Instruction) -> None:
        if one.opcode in _NO_BUFFER or one.opcode.endswith(("-start", "-done")):
            return
        for array in one.arrays:
            if array.space == HBM:
                self.account.buffers.append(Buffer(array, one.opcode, one.op_name))


def _kind(one: Instruction) -> str | None:
    """The kind of a collective that begins here; None for all else, and where one ends."""
    kind = one.opcode.removesuffix("-start")
    return kind if kind in KINDS else None


def _sent(kind: str, size: int, members: int) -> float:
    """Bytes that each of the members sends; see `Collective`."""
    if kind == PERMUTE:
        return float(size)
    return size * (members - 1) / members * (2 if kind == ALL_REDUCE else 1)


def _is_scattered(one: Instruction, within: Computation, members: int) -> bool:
    """Whether each device keeps only its part of the sum: how a TPU's compiler writes a reduce-scatter, as a fusion; of
    several arrays that are reduced together, its part of each."""
    parts = [within.root]
    if within.root.opcode == "tuple":
        parts = [within.instructions[name] for name in within.root.operands]
    if len(parts) != len(one.arrays) or any(part.opcode != "dynamic-slice" for part in parts):
        return False
    sums = [within.instructions[part.operands[0]] for part in parts]
    sums = [
        within.instructions[s.operands[0]] if s.opcode == "get-tuple-element" else s for s in sums
    ]
    return all(
        a_sum.name == one.name and part.arrays[0].size * members == array.size
        for a_sum, part, array in zip(sums, parts, one.arrays, strict=True)
    )
