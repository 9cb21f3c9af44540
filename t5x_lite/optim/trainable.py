"""The trainable part of a tree: what gradients, clipping, norms and the optimizer's state are made of.

Decision 5 of the design. A partial tree has the structure of the whole one with `optax.MaskedNode()`, which holds no
array, where a leaf is frozen: optax's own form of a mask. `optax.masked(optimizer, mask)` alone would not do: it hands
the raw gradients of what it masks out on, as updates.
"""

from __future__ import annotations

from typing import Any

import jax
import optax

from t5x_lite.params.partition import FROZEN, TRAINABLE


def is_masked(node: Any) -> bool:
    """Whether a node stands for a leaf that is not there."""
    return isinstance(node, optax.MaskedNode)


def trainable_part(tree: Any, labels: Any) -> Any:
    """The tree with `optax.MaskedNode()` for its frozen leaves. labels: of `params.partition.label`.

    >>> trainable_part({"a": 1, "b": 2}, {"a": "trainable", "b": "frozen"})
    {'a': 1, 'b': MaskedNode()}
    """
    return jax.tree.map(
        lambda label, leaf: leaf if label == TRAINABLE else optax.MaskedNode(), labels, tree
    )


def combine(part: Any, whole: Any) -> Any:
    """`whole` with the leaves that `part` has.

    >>> combine({"a": 10, "b": optax.MaskedNode()}, {"a": 1, "b": 2})
    {'a': 10, 'b': 2}
    """
    return jax.tree.map(
        lambda new, old: old if is_masked(new) else new, part, whole, is_leaf=is_masked
    )


def partition_optimizer(
    optimizer: optax.GradientTransformation, labels: Any
) -> optax.GradientTransformation:
    """`optimizer` for the trainable leaves, `optax.set_to_zero` for the frozen: state for the trainable alone.

    Its `update` takes gradients as `jax.grad` by a `trainable_part` gives them, so that there is nothing to set to zero
    either; given a whole tree of gradients, the updates of frozen leaves are zeros.
    """
    return optax.partition({TRAINABLE: optimizer, FROZEN: optax.set_to_zero()}, labels)
