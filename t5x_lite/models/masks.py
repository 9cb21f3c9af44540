"""Which token may attend to which: by segment ids, and by order in the decoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Finite: a row without any allowed key (padding) then gives a uniform average instead of NaN.
MASKED_SCORE = -1e10


def segment_ids_from_tokens(tokens: jax.Array, pad_token_id: int) -> jax.Array:
    """Segment ids of unpacked rows: 1 for a token, 0 for padding, on whichever side it stands.

    >>> segment_ids_from_tokens(jnp.array([[7, 1, 0]]), pad_token_id=0)
    Array([[1, 1, 0]], dtype=int32)
    """
    return (tokens != pad_token_id).astype(jnp.int32)


def attention_mask(
    query_segment_ids: jax.Array | None,
    key_segment_ids: jax.Array | None,
    *,
    causal: bool,
    query_length: int,
    key_length: int,
    prefix_length: int = 0,
    first_query: int | jax.Array = 0,
    first_key: int | jax.Array = 0,
) -> jax.Array | None:
    """True where a query may attend to a key: same segment and, if causal, not ahead of it (or in the prefix).

    Args:
      query_segment_ids: int32 [..., query], or None when every query is of segment 1.
      key_segment_ids: int32 [..., key], 0 = padding; None when every key is of segment 1.
      prefix_length: so many first keys that causal queries may see from anywhere (a prefix language model's).
      first_query, first_key: the positions that these queries and keys begin at, where they are a part.

    Returns:
      bool [..., query, key] (or [query, key] with causal order alone), or None when nothing is masked.

    >>> attention_mask(None, jnp.array([1, 1, 0]), causal=True, query_length=3, key_length=3)
    Array([[ True, False, False],
           [ True,  True, False],
           [ True,  True, False]], dtype=bool)
    """
    mask = None
    if key_segment_ids is not None:
        if query_segment_ids is None:
            mask = (key_segment_ids == 1)[..., None, :]
        else:
            mask = query_segment_ids[..., :, None] == key_segment_ids[..., None, :]
        mask = jnp.broadcast_to(mask, (*mask.shape[:-2], query_length, key_length))
    if causal:
        keys = first_key + jnp.arange(key_length)[None, :]
        order = (first_query + jnp.arange(query_length)[:, None] >= keys) | (keys < prefix_length)
        mask = order if mask is None else mask & jnp.broadcast_to(order, mask.shape)
    return mask
