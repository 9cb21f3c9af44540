"""An optimizer that treats each layer of a stacked tree as a parameter of its own."""

from __future__ import annotations

from typing import Any

import jax
import optax

_REST, _LAYERS = "rest", "layers"


def _split(tree: dict[str, Any], root: str = "") -> dict[str, Any]:
    """The tree without its stacked layers, and those by stack ("encoder", "policy/decoder"); every part keeps its
    paths from the root.

    A stack without arrays (frozen, see `optim.trainable`) stays where it is: there is nothing to map over.
    """
    rest: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for key, child in tree.items():
        if not isinstance(child, dict):
            rest[key] = child
        elif key == _LAYERS:
            if jax.tree.leaves(child):
                parts[root] = {_LAYERS: child}
            else:
                rest[key] = child
        else:
            below = _split(child, f"{root}/{key}" if root else key)
            rest[key] = below.pop(_REST)
            parts |= {stack: {key: part} for stack, part in below.items()}
    return {_REST: rest, **parts}


def _join(parts: dict[str, Any]) -> Any:
    tree = parts[_REST]
    for name, part in parts.items():
        if name != _REST:
            tree = _with(tree, part)
    return tree


def _with(tree: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """`tree` with what `part` has beside it."""
    return tree | {
        key: _with(tree[key], child) if key in tree and key != _LAYERS else child
        for key, child in part.items()
    }


def per_layer(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Maps `inner` over the leading `layers` axis of stacked parameters; unrolled ones go through unchanged.

    Statistics over a whole parameter (the RMS by which Adafactor and RMS-scaled AdamW scale, Adafactor's
    factors) are then the same for a scanned and an unrolled model. The stacks may lie anywhere in the tree: a policy's
    beside its critic's, and their adapters' below them.
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
