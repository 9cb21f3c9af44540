"""What the parameters are: a table of paths, shapes, types and sizes, and their count."""

from __future__ import annotations

import collections
import math
import re
from typing import Any

from t5x_lite.params.paths import flatten


def count(tree: Any) -> int:
    """Number of parameters (array elements)."""
    return sum(math.prod(leaf.shape) for leaf in flatten(tree).values())


def overview(tree: Any) -> list[dict[str, Any]]:
    """One row per kind of parameter, the layers of a stack folded into one row.

    Works on arrays and on `jax.ShapeDtypeStruct`. Rows: path (with {n} for layer numbers), copies, shape, dtype,
    parameters (of all copies).
    """
    groups: dict[tuple, int] = collections.Counter()
    for path, leaf in flatten(tree).items():
        folded = re.sub(r"layers_\d+", "layers_{n}", path)
        groups[(folded, tuple(leaf.shape), str(leaf.dtype))] += 1
    return [
        {
            "path": path,
            "copies": copies,
            "shape": list(shape),
            "dtype": dtype,
            "parameters": copies * math.prod(shape),
        }
        for (path, shape, dtype), copies in groups.items()
    ]
