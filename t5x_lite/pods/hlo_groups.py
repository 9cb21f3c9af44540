"""Which devices a collective joins, and the mesh axes that they differ in.

XLA writes the groups in one of three forms:
    {{0,1},{2,3}}                                       the groups themselves
    [2,4]<=[2,2,2]T(1,0,2)                              0, 1, ... in the right shape, transposed, cut into rows
    mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}   axes of a mesh of XLA's own
Numbers are positions in the program's list of devices, which is `mesh.devices` in C order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

_LISTS = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{[\d,]*\},?)*)\}")
_SUB_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")


def groups_of(attributes: str, devices: int) -> np.ndarray:
    """The groups of a collective, int [groups, devices of a group].

    devices: how many the program runs on; without any groups written, all of them are one.

    Raises:
      ValueError: a form that is none of the three.

    >>> groups_of("replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}", 4).tolist()
    [[0, 2], [1, 3]]
    >>> groups_of("replica_groups=mesh['a'=2,'b'=2] {'a'}", 4).tolist()
    [[0, 2], [1, 3]]
    """
    if found := _LISTS.search(attributes):
        rows = [_numbers(row) for row in re.findall(r"\{([\d,]+)\}", found[1])]
        return np.array(rows or [list(range(devices))])
    if found := _IOTA.search(attributes):
        return _iota(found[2], found[3]).reshape(_numbers(found[1]))
    if found := _MESH.search(attributes):
        return _mesh_groups(found[1], found[2], found[3], found[4])
    if "replica_groups=" in attributes:
        raise ValueError(f"replica groups of an unknown form: {attributes[:200]}")
    return np.arange(devices)[None]


def pairs_of(attributes: str) -> np.ndarray:
    """Sources and targets of a collective-permute, int [pairs, 2]."""
    found = _PAIRS.search(attributes)
    rows = re.findall(r"\{([\d,]+)\}", found[1]) if found else []
    return np.array([_numbers(row) for row in rows], int).reshape(-1, 2)


def axes_between(
    groups: Iterable[Sequence[int]] | np.ndarray, axes: Sequence[str], sizes: Sequence[int]
) -> tuple[str, ...]:
    """The mesh axes that the members of a group differ in, in the order of the mesh; () where none does.

    >>> axes_between([[0, 1], [2, 3]], ("data", "model"), (2, 2))
    ('model',)
    """
    differ = np.zeros(len(axes), bool)
    for group in groups:
        places = np.stack(np.unravel_index(np.asarray(group), sizes))
        differ |= (places != places[:, :1]).any(axis=1)
    return tuple(axis for axis, differs in zip(axes, differ, strict=True) if differs)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _iota(shape: str, permutation: str | None) -> np.ndarray:
    numbers = np.arange(math.prod(_numbers(shape))).reshape(_numbers(shape))
    return numbers.transpose(_numbers(permutation)) if permutation else numbers


def _mesh_groups(mesh: str, shape: str | None, permutation: str | None, over: str) -> np.ndarray:
    names, sizes = zip(*re.findall(r"'([^']+)'=(\d+)", mesh), strict=True)
    dims = [int(size) for size in sizes]
    numbers = _iota(shape, permutation) if shape else np.arange(math.prod(dims))
    # An axis may be cut into sub-axes, 'a':(before)size: each axis becomes three, of which the middle one counts.
    chosen = {name: (before, size) for name, before, size in _SUB_AXIS.findall(over)}
    cut, inside = [], []
    for name, whole in zip(names, dims, strict=True):
        before, size = chosen.get(name, ("", ""))
        first = int(before or 1)
        middle = int(size or whole) if name in chosen else 1
        cut += [first, middle, whole // (first * middle)]
        inside += [False, True, False]
    numbers = numbers.reshape(cut)
    kept = [place for place, one in enumerate(inside) if not one]
    moved = [place for place, one in enumerate(inside) if one]
    members = math.prod(cut[place] for place in moved)
    return numbers.transpose(kept + moved).reshape(-1, members)
