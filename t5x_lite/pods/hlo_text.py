"""An optimized HLO module as data: computations of instructions, read from `compiled.as_text()`.

Elements of tuples are instructions (get-tuple-element) in the text of older compilers, operands (`%name#1`) in that of
jaxlib 0.12, and instructions here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

HBM = 0  # the memory space of arrays whose layout names none

_BITS = re.compile(r"[a-z]+(\d+)")
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([\d,<=]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_HEADER = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_NAME = re.compile(r"(ROOT )?%([\w.\-]+) = ")
_OPERAND = re.compile(r"%([\w.\-]+(?:#\d+)*)")  # %while.3#1 is an element of its tuple
_OPCODE = re.compile(r" ?([a-z][\w\-]*)\(")
_CALLED = re.compile(r"\b(calls|body|condition|to_apply)=%([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TWO_BRANCHES = re.compile(r"\b(?:true|false)_computation=%([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True, slots=True)
class Array:
    """An array type. space: 0 is the device's main memory (HBM), others lie on the chip."""

    dtype: str
    dims: tuple[int, ...]
    space: int

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Bytes, without the padding of tiles."""
        return math.ceil(self.size * dtype_bits(self.dtype) / 8)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.dims))}]"


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. arrays: of its result, a tuple's leaves in order. text: what stands between the parentheses of
    its operands (a constant's value). attributes: all that follows them.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    text: str
    attributes: str

    def called(self, by: str) -> str | None:
        """The computation named by an attribute: "calls", "body", "condition" or "to_apply"."""
        return next((name for key, name in _CALLED.findall(self.attributes) if key == by), None)

    @property
    def branches(self) -> list[str]:
        """The computations that a conditional chooses between."""
        if found := _BRANCHES.search(self.attributes):
            return _OPERAND.findall(found[1])
        return _TWO_BRANCHES.findall(self.attributes)

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from; "" where the compiler does not say."""
        found = _OP_NAME.search(self.attributes)
        return found[1] if found else ""

    def attribute(self, pattern: str) -> str | None:
        """The first group of a pattern in the attributes."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else None


@dataclasses.dataclass(frozen=True, slots=True)
class Computation:
    """Instructions by name, in order; the last one named root is its result."""

    name: str
    instructions: dict[str, Instruction]
    root: Instruction

    def parameters(self) -> list[Instruction]:
        """Its parameters by their numbers."""
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return sorted(found, key=lambda one: int(one.text))

    def users(self) -> dict[str, list[Instruction]]:
        """Which instructions read each one."""
        result: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for one in self.instructions.values():
            for operand in dict.fromkeys(one.operands):
                result[operand].append(one)
        return result


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """A module: its computations by name."""

    entry: Computation
    computations: dict[str, Computation]


def dtype_bits(dtype: str) -> int:
    """Bits of an element; 0 of what holds no data ("token", "opaque").

    >>> dtype_bits("bf16"), dtype_bits("f8e4m3fn"), dtype_bits("pred"), dtype_bits("token")
    (16, 8, 8, 0)
    """
    if dtype == "pred":
        return 8
    found = _BITS.match(dtype)
    return int(found[1]) if found else 0


def parse_arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a type.

    >>> [str(array) for array in parse_arrays("(bf16[4,2]{1,0:T(8,128)S(1)}, s32[])")]
    ['bf16[4,2]', 's32[]']
    """
    arrays = []
    for dtype, dims, layout in _ARRAY.findall(text):
        space = _SPACE.search(layout)
        sizes = tuple(int(size.removeprefix("<=")) for size in dims.split(",") if size)
        arrays.append(Array(dtype, sizes, int(space[1]) if space else HBM))
    return tuple(arrays)


def parse_module(text: str) -> Module:
    """Reads a module's text.

    Raises:
      ValueError: it has no ENTRY computation.
    """
    computations: dict[str, Computation] = {}
    entry = None
    for name, is_entry, lines in _bodies(text):
        instructions: dict[str, Instruction] = {}
        types: dict[str, str] = {}
        root = None
        for line in lines:
            one, type_, is_root = _instruction(line)
            types[one.name] = type_
            for operand in one.operands:
                _add_element(operand, instructions, types)
            instructions[one.name] = one
            root = one if is_root or root is None else root
        assert root is not None, name
        computations[name] = Computation(name, instructions, root)
        entry = computations[name] if is_entry else entry
    if entry is None:
        raise ValueError("no ENTRY computation: not the text of an HLO module")
    return Module(entry, computations)


def _bodies(text: str) -> Iterator[tuple[str, bool, list[str]]]:
    name, is_entry, inside = "", False, False
    lines: list[str] = []
    for line in text.splitlines():
        if inside and line.startswith("}"):  # of a SparseCore's, its thread follows
            inside = False
            yield name, is_entry, lines
        elif inside:
            lines.append(line.strip())
        elif header := _HEADER.match(line):
            name, is_entry, lines, inside = header[2], bool(header[1]), [], True


def _add_element(name: str, instructions: dict[str, Instruction], types: dict[str, str]) -> None:
    """Adds the element that a name such as "while.3#1" stands for, and those that it is an element of."""
    of, hash_, index = name.rpartition("#")
    if not hash_ or name in instructions:
        return
    _add_element(of, instructions, types)
    types[name] = _element_types(types[of])[int(index)]
    instructions[name] = Instruction(
        name=name,
        opcode="get-tuple-element",
        arrays=parse_arrays(types[name]),
        operands=(of,),
        text=f"%{of}",
        attributes=f", index={index}",
    )


def _element_types(tuple_type: str) -> list[str]:
    """The types of a tuple's elements.

    >>> _element_types("(s32[]{:T(128)}, (f32[2,3], pred[]), bf16[4])")
    ['s32[]{:T(128)}', '(f32[2,3], pred[])', 'bf16[4]']
    """
    elements, depth, start = [], 0, 1
    for found in re.finditer(r"[()\[\]{},]", tuple_type):
        if found[0] in "([{":
            depth += 1
        elif found[0] in ")]}":
            depth -= 1
        if (found[0] == "," and depth == 1) or depth == 0:
            elements.append(tuple_type[start : found.start()].strip())
            start = found.end()
    return elements


def _instruction(line: str) -> tuple[Instruction, str, bool]:
    """What a line says, the type of its result, and whether that is the computation's."""
    head = _NAME.match(line)
    assert head, line[:200]
    start = head.end()
    end = _closing(line, start) + 1 if line[start] == "(" else line.index(" ", start)
    opcode = _OPCODE.match(line, end)
    assert opcode, line[:200]
    close = _closing(line, opcode.end() - 1)
    inner = line[opcode.end() : close]
    return (
        Instruction(
            name=head[2],
            opcode=opcode[1],
            arrays=parse_arrays(line[start:end]),
            operands=tuple(_OPERAND.findall(inner)),
            text=inner,
            attributes=line[close + 1 :],
        ),
        line[start:end],
        bool(head[1]),
    )


def _closing(line: str, start: int) -> int:
    """Where the parenthesis opened at `start` closes."""
    depth = 0
    for found in re.finditer(r"[()]", line[start:]):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return start + found.start()
    raise ValueError(f"no closing parenthesis: {line[:200]}")
