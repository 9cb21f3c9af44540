"""A number for each parameter by rules on its canonical path; the same for unrolled and stacked layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.foreign.patterns import matches_own
from t5x_lite.params.paths import flatten, map_with_path
from t5x_lite.params.stacking import canonical_paths


def values_by_path(rules: Sequence[tuple[str, float]], default: float, tree: Any) -> Any:
    """For each leaf the number of the first rule whose pattern matches its whole canonical path; `default` if none.

    Of a stacked leaf whose layers differ: one number a layer, float32 [layers, 1, ...], to multiply it with.

    Raises:
      InputError: a pattern matches no path at all (a typo would otherwise do nothing, silently).

    >>> values_by_path([(".*/scale", 0.0)], 1.0, {"norm": {"scale": 0}, "mlp": {"kernel": 0}})
    {'mlp': {'kernel': 1.0}, 'norm': {'scale': 0.0}}
    """
    names = {path: canonical_paths(path, leaf) for path, leaf in flatten(tree).items()}
    everything = [name for of_leaf in names.values() for name in of_leaf]
    for pattern, _ in rules:
        if not any(matches_own(pattern, name) for name in everything):
            kinds = sorted({re.sub(r"layers_\d+", "layers_{n}", name) for name in everything})
            raise InputError(
                f"pattern {pattern!r} matches no parameter's path; there are: {', '.join(kinds)}"
            )

    def value(path: str, leaf: Any) -> float | np.ndarray:
        values = [
            next((number for pattern, number in rules if matches_own(pattern, name)), default)
            for name in names[path]
        ]
        if len(set(values)) == 1:
            return values[0]
        return np.asarray(values, np.float32).reshape(-1, *[1] * (leaf.ndim - 1))

    return map_with_path(value, tree)
