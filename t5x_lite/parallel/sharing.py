"""Work of the hosts that the processes share out: texts of tokens, tokens of texts, scores by Python functions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def share_out(count: int, work: Callable[[slice], Sequence[Any]]) -> list[Any]:
    """One value for each of `count` rows: each process works on rows of its own, and all get all values, in order.

    All processes must call this, at the same place; of a single one, it is `work(slice(0, count))`. Not to be called
    within `work`.

    work: gives a value for each of the rows in the slice, something that JSON holds (floats keep every bit). A value
      must not depend on which other rows are in the slice.
    """
    processes = jax.process_count()
    bounds = [count * number // processes for number in range(processes + 1)]
    number = jax.process_index()
    own = list(work(slice(bounds[number], bounds[number + 1])))
    if processes == 1:
        return own
    return list(itertools.chain(*map(json.loads, _exchange(json.dumps(own).encode()))))


def share_out_columns(
    count: int, work: Callable[[slice], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """`share_out` of several numbers a row: {name: float64 [rows]}, by a `work` that gives such of its rows."""

    if jax.process_count() == 1:
        return work(slice(0, count))

    def rows(own: slice) -> list[dict[str, float]]:
        if own.start == own.stop:
            return []
        columns = work(own)
        names, values = list(columns), [column.tolist() for column in columns.values()]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]

    table = share_out(count, rows)
    if not table:
        return work(slice(0, 0))  # it knows the names
    return {name: np.array([row[name] for row in table], np.float64) for name in table[0]}


def _exchange(own: bytes) -> list[bytes]:
    """What each process gives, in the order of the processes, on all of them."""
    sizes = multihost_utils.process_allgather(np.array([jax.process_index(), len(own)], np.int32))
    # Few widths: each compiles a program.
    width = 1 << int(sizes[:, 1].max()).bit_length()
    padded = np.zeros(width, np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [rows[place, : sizes[place, 1]].tobytes() for place in np.argsort(sizes[:, 0])]
