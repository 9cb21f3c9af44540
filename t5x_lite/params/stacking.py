"""The two layouts of a stack's layers: unrolled (canonical: layers_0, layers_1, ...) and stacked (one `layers`
subtree whose leaves have a leading `layers` axis), which a scanned train step wants."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Params = dict[str, Any]
STACKS = ("encoder", "decoder")


def is_stacked(params: Params) -> bool:
    """Whether `params` are in the stacked layout."""
    return any("layers" in params.get(stack, {}) for stack in STACKS)


def stack(params: Params) -> Params:
    """Unrolled -> stacked.

    {"encoder": {"layers_0": {"a": x}, "layers_1": {"a": y}}} -> {"encoder": {"layers": {"a": [x, y]}}}
    """
    result = dict(params)
    for name in STACKS:
        rest = {k: v for k, v in params[name].items() if not k.startswith("layers_")}
        layers = [params[name][f"layers_{i}"] for i in range(len(params[name]) - len(rest))]
        result[name] = rest | {"layers": jax.tree.map(lambda *xs: jnp.stack(xs), *layers)}
    return result


def unstack(params: Params) -> Params:
    """Stacked -> unrolled, the inverse of `stack`."""
    result = dict(params)
    for name in STACKS:
        rest = {k: v for k, v in params[name].items() if k != "layers"}
        layers = params[name]["layers"]
        count = jax.tree.leaves(layers)[0].shape[0]
        unrolled = {f"layers_{i}": jax.tree.map(lambda x, i=i: x[i], layers) for i in range(count)}
        result[name] = rest | unrolled
    return result


def canonical_paths(path: str, leaf: Any) -> list[str]:
    """The canonical paths of what a leaf holds: itself, or of a stacked leaf one per layer.

    >>> canonical_paths("encoder/layers/mlp/wo/kernel", jax.ShapeDtypeStruct((2, 4, 3), "float32"))
    ['encoder/layers_0/mlp/wo/kernel', 'encoder/layers_1/mlp/wo/kernel']
    """
    if "/layers/" not in path:
        return [path]
    return [path.replace("/layers/", f"/layers_{i}/", 1) for i in range(leaf.shape[0])]
