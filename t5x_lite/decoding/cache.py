"""The decoder's key/value cache: one entry a layer, preallocated, updated in place by the token loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t5x_lite.models.attention import KeyValues
from t5x_lite.models.axes import constrain
from t5x_lite.models.config import T5Config

Cache = tuple[KeyValues, ...]  # per layer, "key" and "value" [row, heads, max_length, kv]


def init_cache(config: T5Config, rows: int, max_length: int, dtype: str) -> Cache:
    """An empty cache for `rows` decoded rows of at most `max_length` decoder inputs, in the compute type.

    Layers are separate entries: a stacked cache would be copied whole for every token. Sharded like activations.
    """
    shape = (rows, config.num_heads, max_length, config.d_kv)

    def empty() -> jax.Array:
        return constrain(jnp.zeros(shape, dtype), "batch", "heads", "length", "kv")

    return tuple({"key": empty(), "value": empty()} for _ in range(config.num_decoder_layers))


def reorder(cache: Cache, beams: jax.Array) -> Cache:
    """Gives every beam the cache of the beam it continues.

    Args:
      cache: rows = batch x beams.
      beams: int32 [batch, beams], indices of beams of the same batch row.
    """
    batch, width = beams.shape

    def take(x: jax.Array) -> jax.Array:
        grouped = x.reshape(batch, width, *x.shape[1:])
        # Batched, so that it stays local where the batch is sharded.
        return jax.vmap(lambda group, index: group[index])(grouped, beams).reshape(x.shape)

    return jax.tree.map(take, cache)
