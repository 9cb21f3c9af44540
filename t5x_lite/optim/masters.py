"""Float32 master copies of weights that are kept in a smaller type.

An update of AdamW at a rate of 1e-4 is about 1e-4 large, a weight of .1 in bfloat16 has its neighbours 5e-4 away: added
to that, the update rounds to nothing, step after step. The optimizer's state therefore holds such weights in float32
(and its own moments, whose decay by .999 would round away alike); what the model computes with is a rounded copy.

Source: mixed precision training, Micikevicius et al. 2018 (arXiv:1710.03740), section 3.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from t5x_lite.optim.trainable import is_masked


class MastersState(NamedTuple):
    """masters: float32 copies of the smaller leaves, `optax.MaskedNode()` where a parameter is float32 itself.
    inner: the state of the optimizer of the float32 weights."""

    masters: Any
    inner: Any


def with_masters(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """`inner` as an optimizer of float32 weights, whatever type they are kept in.

    Where every parameter is float32 (adapters over a frozen bfloat16 base are: frozen leaves have no state), it is
    `inner` itself, its state too. The updates are float32: `optax.apply_updates` adds them to the parameter in
    float32 and rounds the sum, to the parameter's nearest neighbour of the master.
    """

    def init(params: Any) -> Any:
        masters = jax.tree.map(_master, params)
        if not jax.tree.leaves(masters):
            return inner.init(params)
        return MastersState(masters, inner.init(_whole(masters, params)))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if not isinstance(state, MastersState):
            return inner.update(updates, state, params)
        before = _whole(state.masters, params)
        updates = jax.tree.map(lambda update: update.astype(jnp.float32), updates)
        updates, inner_state = inner.update(updates, state.inner, before)
        after = optax.apply_updates(before, updates)
        masters = jax.tree.map(
            lambda master, new: master if is_masked(master) else new,
            state.masters,
            after,
            is_leaf=is_masked,
        )
        # To the float32 parameters nothing but what the optimizer says.
        changes = jax.tree.map(
            lambda master, new, update, param: (
                update if is_masked(master) else new - param.astype(jnp.float32)
            ),
            state.masters,
            after,
            updates,
            params,
            is_leaf=is_masked,
        )
        return changes, MastersState(masters, inner_state)

    return optax.GradientTransformation(init, update)


def masters_in(opt_state: Any) -> int:
    """How many weights of a (nested) optimizer's state have masters."""
    found = (
        node.masters
        for node in jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, MastersState))
        if isinstance(node, MastersState)
    )
    return sum(leaf.size for tree in found for leaf in jax.tree.leaves(tree))


def _master(param: jax.Array) -> Any:
    return optax.MaskedNode() if param.dtype == jnp.float32 else param.astype(jnp.float32)


def _whole(masters: Any, params: Any) -> Any:
    """The float32 weights: the masters, and the parameters that are float32 themselves."""
    return jax.tree.map(
        lambda master, param: param if is_masked(master) else master,
        masters,
        params,
        is_leaf=is_masked,
    )
