"""Logical axis names on activations, resolved by whatever rules the run entered (see `parallel/rules.py`)."""

from __future__ import annotations

import jax
from flax import linen as nn


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Constrains `x` to the sharding that the current rules give its logical axes; without a mesh, `x` itself.

    Raises:
      ValueError: a name is in no rule. (flax would replicate silently, and a typo would cost a pod its memory.)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    rules = nn.get_logical_axis_rules()
    known = {name for name, _ in rules}
    unknown = [name for name in names if name is not None and name not in known]
    if unknown:
        raise ValueError(f"logical axes {unknown} are in no rule; known: {sorted(known)}")
    return jax.lax.with_sharding_constraint(x, nn.logical_to_mesh_axes(names, rules))
