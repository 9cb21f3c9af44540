"""Parameter paths: "encoder/layers_0/mlp/wi/kernel"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from t5x_lite.params.integers import is_quantized

Params = dict[str, Any]


def path_string(path: Sequence[Any]) -> str:
    """The "/"-joined path of a leaf, from the key path that `jax.tree_util` hands out."""
    return "/".join(
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    )


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path, in tree order; a weight in integers is one.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized)
    return {path_string(path): leaf for path, leaf in leaves}


def map_with_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` whose function gets the path first: function(path, leaf, *leaves_of_rest)."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(path_string(path), *leaves),
        tree,
        *rest,
        is_leaf=is_quantized,
    )
