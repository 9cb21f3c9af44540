"""How often the body of a while loop runs, where the program says so."""

from __future__ import annotations

from t5x_lite.pods.hlo_text import Computation, Instruction, Module

_SAME = ("copy", "bitcast", "convert", "reshape")


def trip_count(loop: Instruction, within: Computation, module: Module) -> int | None:
    """The trips of a while loop; None where its condition compares with a number that is computed.

    XLA on the CPU and GPU writes it down (`known_trip_count`). On a TPU it is read from the loop: the condition
    compares an element of the carry with a constant, the body adds a constant to it, and the carry begins with one. A
    condition that also asks for something else (`and`) may end the loop earlier: this is then the most it can run.
    """
    known = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"')
    if known is not None:
        return int(known)
    condition = module.computations[loop.called("condition") or ""]
    body = module.computations[loop.called("body") or ""]
    carry = within.instructions[loop.operands[0]]
    for compare in _compares(condition.root, condition):
        left, right = (
            _behind(condition.instructions[name], condition) for name in compare.operands
        )
        bound = _constant(right, condition)
        index = left.attribute(r"index=(\d+)") if left.opcode == "get-tuple-element" else None
        if bound is None or index is None or "direction=LT" not in compare.attributes:
            continue
        start = _element(carry, int(index), within)
        step = _step(_element(body.root, int(index), body), int(index), body)
        first = _constant(start, within) if start is not None else None
        if step is not None and first is not None:
            return max(0, -(-(bound - first) // step))
    return None


def _compares(one: Instruction, within: Computation) -> list[Instruction]:
    """The comparisons that all must hold."""
    if one.opcode == "compare":
        return [one]
    if one.opcode == "and":
        return [c for name in one.operands for c in _compares(within.instructions[name], within)]
    return []


def _element(one: Instruction, index: int, within: Computation) -> Instruction | None:
    if one.opcode != "tuple":
        return None
    return _behind(within.instructions[one.operands[index]], within)


def _step(one: Instruction | None, index: int, body: Computation) -> int | None:
    """What the body adds to an element of its carry."""
    if one is None or one.opcode != "add":
        return None
    parts = [_behind(body.instructions[name], body) for name in one.operands]
    added = [number for part in parts if (number := _constant(part, body)) is not None]
    carried = [part for part in parts if part.attribute(r"index=(\d+)") == str(index)]
    return added[0] if len(added) == 1 and carried and added[0] > 0 else None


def _constant(one: Instruction, within: Computation) -> int | None:
    one = _behind(one, within)
    digits = one.text.removeprefix("-")
    return int(one.text) if one.opcode == "constant" and digits.isdigit() else None


def _behind(one: Instruction, within: Computation) -> Instruction:
    while one.opcode in _SAME:
        one = within.instructions[one.operands[0]]
    return one
