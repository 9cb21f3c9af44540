"""Parameter paths ("encoder/layers_0/mlp/wi/kernel") and rules on them: the first regular expression wins."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax

from t5x_lite.errors import InputError

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


def matches_any(patterns: Sequence[str], tree: Any) -> Any:
    """True for each leaf whose whole path matches one of the regular expressions.

    Raises:
      InputError: a pattern matches no path at all (a typo would otherwise do nothing, silently).

    >>> matches_any([".*/scale"], {"norm": {"scale": 0}, "mlp": {"kernel": 0}})
    {'mlp': {'kernel': False}, 'norm': {'scale': True}}
    """
    paths = flatten(tree)
    for pattern in patterns:
        if not any(re.fullmatch(pattern, path) for path in paths):
            kinds = sorted({re.sub(r"layers_\d+", "layers_{n}", path) for path in paths})
            raise InputError(
                f"pattern {pattern!r} matches no parameter's path; there are: {', '.join(kinds)}"
            )
    return map_with_path(
        lambda path, _: any(re.fullmatch(pattern, path) for pattern in patterns), tree
    )
