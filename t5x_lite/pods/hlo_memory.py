"""Bytes that an instruction moves between a chip and its main memory (HBM): operands read, results written.

What lies in the chip's own memory (VMEM, the layout's S(1)) costs nothing, and of an array that is sliced or updated in
place only the slice moves. Caches are not modelled: an array that two instructions read is read twice.
"""

from __future__ import annotations

import re

from t5x_lite.pods.hlo_text import HBM, Array, Computation, Instruction, Module

# They move nothing themselves: names for arrays that are there, and calls whose insides are counted.
_FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast while conditional call after-all partition-id replica-id"
    " opt-barrier domain add-dependency iota async-start async-update async-done copy-done send recv send-done"
    " recv-done".split()
)
_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # which operand is written into the first
_NAMES_ONLY = ("bitcast", "reshape", "get-tuple-element")
ASYNC_START = "AsyncCollectiveStart"


def hbm_bytes(one: Instruction, within: Computation, module: Module) -> int:
    """Of one instruction, run once; of a fusion as a whole."""
    if one.opcode in _FREE or one.opcode.endswith("-done") or "AllocateBuffer" in one.attributes:
        return 0
    operands = [within.instructions[name] for name in one.operands]
    if one.opcode == "fusion":
        return _of_fusion(one, operands, module)
    if one.opcode in _SLICES:
        return 2 * _bytes(one.arrays) if _is_in_hbm(operands[0]) else _bytes(one.arrays)
    if one.opcode in _UPDATES:
        update = operands[_UPDATES[one.opcode]]
        return _bytes(update.arrays) + (_bare_bytes(update.arrays) if _is_in_hbm(one) else 0)
    read = sum(_bytes(operand.arrays) for operand in operands)
    if one.opcode.endswith("-start"):  # the result holds the operands again
        return read + max(_bytes(one.arrays) - read, 0)
    return read + _bytes(one.arrays)


def _of_fusion(fusion: Instruction, operands: list[Instruction], module: Module) -> int:
    inside = module.computations[fusion.called("calls") or ""]
    if steps := [one for one in inside.instructions.values() if is_async_mark(one)]:
        started = [name for one in steps if ASYNC_START in one.attributes for name in one.operands]
        collectives = [inside.instructions[name] for name in started]
        taken = [inside.instructions[name] for one in collectives for name in one.operands]
        return sum(_bytes(one.arrays) for one in (*collectives, *taken))
    taken_along, handed_on = _handed_through(fusion, inside)
    read = sum(
        _read_of(parameter, inside, _bytes(operand.arrays), module)
        for place, (parameter, operand) in enumerate(
            zip(inside.parameters(), operands, strict=True)
        )
        if place not in taken_along
    )
    roots = [inside.root]
    if inside.root.opcode == "tuple":
        roots = [inside.instructions[name] for name in inside.root.operands]
    if len(roots) != len(fusion.arrays):  # a root that is itself several arrays
        return read + _bytes(fusion.arrays)
    written = 0
    for place, (root, array) in enumerate(zip(roots, fusion.arrays, strict=True)):
        update = _behind_names(root, inside)
        if place in handed_on:
            continue
        if update.opcode in _UPDATES:
            piece = inside.instructions[update.operands[_UPDATES[update.opcode]]]
            written += _bare_bytes(piece.arrays) if array.space == HBM else 0
        else:
            written += _bytes((array,))
    return read + written


def is_async_mark(one: Instruction) -> bool:
    """Whether this starts or ends a collective that runs beside other work (a TPU's "async collective fusion")."""
    return "AsyncCollective" in one.attributes


def is_async_part(one: Instruction) -> bool:
    """Whether a collective inside a fusion runs beside other work: it then stands in the fusion that starts it, in
    those that it runs beside, and in that which waits for it.
    """
    return "async_collective_fusion_config" in one.attributes and "chain_id" in one.attributes


def _handed_through(fusion: Instruction, inside: Computation) -> tuple[set[int], set[int]]:
    """The operands and results that are buffers of a collective which runs beside this fusion's own work."""
    if not any(map(is_async_part, inside.instructions.values())):
        return set(), set()
    found = re.search(
        r"output_to_operand_aliasing=\{((?:\{\d*\}: \(\d+, \{\}\),? ?)*)\}", fusion.attributes
    )
    pairs = re.findall(r"\{(\d+)\}: \((\d+)", found[1]) if found else []
    return {int(operand) for _, operand in pairs}, {int(result) for result, _ in pairs}


def _read_of(parameter: Instruction, inside: Computation, whole: int, module: Module) -> int:
    """What a fusion reads of an operand of so many bytes: all, or the slices that it takes of it (also in a fusion
    inside it, such as that of a product with a slice), or nothing of what it updates.
    """
    read, waiting, users = 0, [parameter], inside.users()
    while waiting:
        name = waiting.pop()
        for user in users[name.name]:
            if user.opcode in _NAMES_ONLY:
                waiting.append(user)
            elif user.opcode in _SLICES and user.operands[0] == name.name:
                read += _bare_bytes(user.arrays)
            elif user.opcode in _UPDATES and user.operands[0] == name.name:
                pass
            elif user.opcode == "fusion":
                within = module.computations[user.called("calls") or ""]
                for place, operand in zip(within.parameters(), user.operands, strict=True):
                    if operand == name.name:
                        read += _read_of(place, within, whole, module)
            else:
                return whole
    return min(read, whole)


def _behind_names(one: Instruction, inside: Computation) -> Instruction:
    while one.opcode in _NAMES_ONLY:
        one = inside.instructions[one.operands[0]]
    return one


def _is_in_hbm(one: Instruction) -> bool:
    return any(array.space == HBM for array in one.arrays)


def _bytes(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.space == HBM)


def _bare_bytes(arrays: tuple[Array, ...]) -> int:
    """Of arrays inside a fusion, whose space says nothing."""
    return sum(array.bytes for array in arrays)
