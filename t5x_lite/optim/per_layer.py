"""An optimizer that treats each layer of a stacked tree as a parameter of its own."""

from __future__ import annotations

from typing import Any

import jax
import optax

from t5x_lite.params.stacking import STACKS

_REST = "rest"


def _split(tree: Any) -> dict[str, Any]:
    """The tree without its stacked layers, and those by stack; every part keeps its paths from the root."""
    stacked = [stack for stack in STACKS if "layers" in tree.get(stack, {})]
    rest = dict(tree)
    for stack in stacked:
        rest[stack] = {key: value for key, value in tree[stack].items() if key != "layers"}
    parts = {stack: {stack: {"layers": tree[stack]["layers"]}} for stack in stacked}
    return {_REST: rest, **parts}


def _join(parts: dict[str, Any]) -> Any:
    tree = dict(parts[_REST])
    for stack, part in parts.items():
        if stack != _REST:
            tree[stack] = tree[stack] | part[stack]
    return tree


def per_layer(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Maps `inner` over the leading `layers` axis of stacked parameters; unrolled ones go through unchanged.

    Statistics over a whole parameter (the RMS by which Adafactor and RMS-scaled AdamW scale, Adafactor's
    factors) are then the same for a scanned and an unrolled model.
    """

    def init(params: Any) -> dict[str, Any]:
        parts = _split(params)
        return {
            name: inner.init(part) if name == _REST else jax.vmap(inner.init)(part)
            for name, part in parts.items()
        }

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        grads, values = _split(updates), _split(params)
        results = {
            name: (inner.update if name == _REST else jax.vmap(inner.update))(
                grads[name], state[name], values[name]
            )
            for name in grads
        }
        return (
            _join({name: result[0] for name, result in results.items()}),
            {name: result[1] for name, result in results.items()},
        )

    return optax.GradientTransformation(init, update)
