"""A weight in integers and scales, which answers as an array of its shape: what `params.quantized` makes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Quantized:
    """A weight in integers; what models and adapters ask of an array, it answers as one of its shape.

    values: int8 or int4, of the weight's shape.
    scale: float32 of as many axes: 1 where they are shared, and the number of groups on the first.
    """

    values: Any  # an array, or what stands for one: its shape, its sharding
    scale: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def ndim(self) -> int:
        return len(self.values.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> Any:
        """Of the integers."""
        return self.values.dtype

    @property
    def sharding(self) -> Any:
        """A pair of them, as a tree."""
        return Quantized(self.values.sharding, self.scale.sharding)

    @property
    def T(self) -> Quantized:
        """Of a weight without groups."""
        return Quantized(self.values.T, self.scale.T)

    def astype(self, dtype: Any) -> jax.Array:
        """The weight as floats; multiplied in float32 and rounded once."""
        values, groups = self.values, self.scale.shape[0]
        if 1 < groups < self.shape[0]:
            values = values.reshape(groups, -1, *self.shape[1:])
            return (
                (values.astype(jnp.float32) * self.scale[:, None]).reshape(self.shape).astype(dtype)
            )
        return (values.astype(jnp.float32) * self.scale).astype(dtype)

    def rows(self, numbers: jax.Array) -> jax.Array:
        """Rows of a table [rows, features] whose every row has a scale, float32 [*numbers.shape, features]."""
        values, scale = (jnp.take(x, numbers, axis=0) for x in (self.values, self.scale))
        return values.astype(jnp.float32) * scale

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.astype(dtype or jnp.float32))

    def tree_flatten_with_keys(self) -> tuple[Any, None]:
        keys = jax.tree_util.GetAttrKey
        return ((keys("values"), self.values), (keys("scale"), self.scale)), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: Any) -> Quantized:
        return cls(*leaves)


def is_quantized(leaf: Any) -> bool:
    """For `is_leaf` of jax.tree: a weight in integers is one leaf."""
    return isinstance(leaf, Quantized)
