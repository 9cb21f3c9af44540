"""An optimizer that treats each layer of a stacked tree as a parameter of its own."""

from __future__ import annotations

from typing import Any

import jax
import optax

from t5x_lite.params.partition import ADAPTERS
from t5x_lite.params.stacking import STACKS

_REST = "rest"


def _split(tree: Any) -> dict[str, Any]:
    """The tree without its stacked layers, and those by stack; every part keeps its paths from the root.

    A stack without arrays (frozen, see `optim.trainable`) stays where it is: there is nothing to map over.
    """
    rest, parts = dict(tree), {}
    for stack in STACKS:
        if jax.tree.leaves(tree.get(stack, {}).get("layers", {})):
            rest[stack] = {key: value for key, value in tree[stack].items() if key != "layers"}
            parts[stack] = {stack: {"layers": tree[stack]["layers"]}}
    if ADAPTERS in tree:
        of_adapters = _split(tree[ADAPTERS])
        rest[ADAPTERS] = of_adapters.pop(_REST)
        for stack, part in of_adapters.items():
            parts[f"{ADAPTERS}/{stack}"] = {ADAPTERS: part}
    return {_REST: rest, **parts}


def _join(parts: dict[str, Any]) -> Any:
    tree = dict(parts[_REST])
    for name, part in parts.items():
        if name.startswith(f"{ADAPTERS}/"):
            stack = name.removeprefix(f"{ADAPTERS}/")
            adapters = tree[ADAPTERS]
            tree[ADAPTERS] = adapters | {stack: adapters[stack] | part[ADAPTERS][stack]}
        elif name != _REST:
            tree[name] = tree[name] | part[name]
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
