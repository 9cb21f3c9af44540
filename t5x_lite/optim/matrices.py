"""Attention's kernels as the matrices they are, for an optimizer that factors matrices."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from t5x_lite.params.paths import map_with_path
from t5x_lite.params.roles import matrix_inputs

# optax factors second moments where both axes have so many elements.
_LEAST = 128


def as_matrices(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner` over kernels of three axes merged to [inputs, outputs] where both are large enough to be factored.

    [embed, heads, kv] has two axes of 128 in no T5 but xxl; T5X's Adafactor too takes heads and kv for one axis
    (`t5x/adafactor.py`, its rules of logical axes). Smaller kernels go through as they are.
    """

    def init(params: Any) -> Any:
        return inner.init(_merged(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        result, state = inner.update(_merged(updates), state, _merged(params))
        # Back to the shapes they came in.
        return jax.tree.map(lambda new, old: new.reshape(old.shape), result, updates), state

    return optax.GradientTransformation(init, update)


def _merged(tree: Any) -> Any:
    def merged(path: str, leaf: jax.Array) -> jax.Array:
        inputs = matrix_inputs(path, leaf.ndim)
        if inputs is None or leaf.ndim < 3:
            return leaf
        shape = math.prod(leaf.shape[:inputs]), math.prod(leaf.shape[inputs:])
        return leaf.reshape(shape) if min(shape) >= _LEAST else leaf

    return map_with_path(merged, tree)
