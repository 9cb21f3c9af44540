"""Parameter paths: "encoder/layers_0/mlp/wi/kernel"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

Params = dict[str, Any]


def path_string(path: Sequence[Any]) -> str:
    """The "/"-joined path of a leaf, from the key path that `jax.tree_util` hands out."""
    return "/".join(
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    )


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path, in tree order.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    return {path_string(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_with_path(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` whose function gets the path first: function(path, leaf, *leaves_of_rest)."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(path_string(path), *leaves), tree, *rest
    )
