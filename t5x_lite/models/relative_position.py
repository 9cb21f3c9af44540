"""T5's relative position bias: a learned number per head and bucket of distance, added to attention scores."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from t5x_lite.models.axes import named
from t5x_lite.models.config import T5Config


def distance_buckets(
    distances: np.ndarray, *, bidirectional: bool, num_buckets: int, max_distance: int
) -> np.ndarray:
    """Buckets of distances (key position - query position): exact when near, logarithmic up to `max_distance`.

    Distances are static, so this runs in numpy (in float32, as the reference does: at a few distances the
    rounding of the logarithm decides the bucket).

    Args:
      distances: int [...].
      bidirectional: half of the buckets for keys ahead of the query (encoder); otherwise those share bucket 0.

    Returns:
      int32 [...] in [0, num_buckets).

    Source: Raffel et al. 2020; `_relative_position_bucket` of mesh_tensorflow and transformers.

    >>> distance_buckets(np.array([-200, -9, -1, 0, 1]), bidirectional=False, num_buckets=32, max_distance=128)
    array([31,  9,  1,  0,  0], dtype=int32)
    """
    buckets = np.zeros(distances.shape, np.int32)
    if bidirectional:
        num_buckets //= 2
        buckets += (distances > 0).astype(np.int32) * num_buckets
        distances = np.abs(distances)
    else:
        distances = -np.minimum(distances, 0)
    exact = num_buckets // 2
    ratio = np.maximum(distances, 1).astype(np.float32) / np.float32(exact)
    log_position = np.log(ratio) / np.float32(np.log(max_distance / exact)) * (num_buckets - exact)
    far = np.minimum(exact + log_position.astype(np.int32), num_buckets - 1)
    return buckets + np.where(distances < exact, distances, far).astype(np.int32)


def windows(by_distance: jax.Array, query_length: int) -> jax.Array:
    """A number for each distance -> a number for each pair: [..., query + key - 1] -> [..., query, key].

    >>> windows(jnp.arange(-1, 3), query_length=2)  # distances from -1 to 2
    Array([[ 0,  1,  2],
           [-1,  0,  1]], dtype=int32)
    """
    if query_length == 1:
        return by_distance[..., None, :]
    # Row i is the window that starts at query - 1 - i. Starting the whole there and repeating it with a period one
    # longer than the row stride makes the windows a reshape: no gather of [query, key] elements, and so no scatter in
    # the backward pass.
    *leading, width = by_distance.shape
    rolled = jnp.roll(by_distance, -(query_length - 1), axis=-1)
    rows = jnp.broadcast_to(rolled[..., None, :], (*leading, query_length, width))
    rows = rows.reshape(*leading, query_length * width)[..., : query_length * (width - 1)]
    rows = rows.reshape(*leading, query_length, width - 1)
    return rows[..., : width - query_length + 1]


@struct.dataclass
class BiasByDistance:
    """A bias as what blockwise attention takes of it.

    values: float32 [heads, query + key - 1], of distances from -(query - 1) to key - 1.
    same_from: all keys at least so far ahead share a value, and all at least so far behind.
    """

    values: jax.Array
    same_from: int = struct.field(pytree_node=False)


class RelativePositionBias(nn.Module):
    """The bias of one stack, computed once and shared by its layers (in UMT5: of one layer)."""

    config: T5Config
    bidirectional: bool

    def setup(self) -> None:
        buckets = self.config.relative_attention_num_buckets
        stddev = self.config.initializer_factor * self.config.d_model**-0.5
        self.rel_embedding = self.param(
            "rel_embedding",
            named(nn.initializers.normal(stddev), "heads", "relpos_buckets"),
            (self.config.num_heads, buckets),
        )

    def by_distance(self, query_length: int, key_length: int) -> jax.Array:
        """Bias of each distance: float32 [heads, query + key - 1], from -(query - 1) to key - 1."""
        buckets = distance_buckets(
            np.arange(-(query_length - 1), key_length),
            bidirectional=self.bidirectional,
            num_buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )
        return self.rel_embedding.astype(jnp.float32)[:, buckets]

    def __call__(self, query_length: int, key_length: int) -> jax.Array:
        """The whole bias, float32 [heads, query, key]. Lengths may be symbolic, as `jax.export` has them."""
        if not (isinstance(query_length, int) and isinstance(key_length, int)):
            return self._of_symbolic(query_length, key_length)
        return windows(self.by_distance(query_length, key_length), query_length)

    def _of_symbolic(self, query_length: Any, key_length: Any) -> jax.Array:
        """The whole bias by a gather: beyond `max_distance` all distances share a bucket."""
        farthest = self.config.relative_attention_max_distance
        table = self.by_distance(farthest + 1, farthest + 1)  # from -farthest to farthest
        distances = jnp.arange(key_length)[None, :] - jnp.arange(query_length)[:, None]
        return table[:, jnp.clip(distances, -farthest, farthest) + farthest]

    def step(self, position: jax.Array, max_length: int) -> jax.Array:
        """The bias of the query at `position` to keys 0 .. max_length - 1: [heads, 1, max_length]; of a position a row,
        int32 [rows]: [rows, heads, 1, max_length].
        """
        table = self.by_distance(max_length, max_length)

        def of(position: jax.Array) -> jax.Array:
            start = max_length - 1 - position
            return jax.lax.dynamic_slice_in_dim(table, start, max_length, axis=1)[:, None, :]

        return jax.vmap(of)(position) if position.ndim else of(position)
