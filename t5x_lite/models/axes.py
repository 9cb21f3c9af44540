"""Logical axis names on parameters and activations, resolved by the rules the run entered (`parallel/rules.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec


def named(init: Callable[..., Any], *names: str | None) -> Callable[..., Any]:
    """An initializer whose parameter carries the logical names of its axes."""
    # Typed Any: within a module `self.param` hands out the array, not flax's box around it.
    return nn.with_logical_partitioning(init, names)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Constrains `x` to the sharding that the current rules give its logical axes; without a mesh, `x` itself.

    Raises:
      ValueError: a name is in no rule. (flax would replicate silently, and a typo would cost a pod its memory.)
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, spec_of(*names))


def spec_of(*names: str | None) -> PartitionSpec:
    """The mesh axes that the current rules lay these logical axes over.

    Raises:
      ValueError: a name is in no rule.
    """
    rules = nn.get_logical_axis_rules()
    known = {name for name, _ in rules}
    unknown = [name for name in names if name is not None and name not in known]
    if unknown:
        raise ValueError(f"logical axes {unknown} are in no rule; known: {sorted(known)}")
    return nn.logical_to_mesh_axes(names, rules) or PartitionSpec()
