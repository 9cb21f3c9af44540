"""Attention whose memory grows with the length of a text, not with its square; of the same numbers as `attend`.

Scores exist for one block of queries and one block of keys at a time. The softmax over the keys is exact: each query
carries the largest score so far, and what has been summed up is scaled down when a larger one comes. The backward pass
keeps no weights, but makes them anew, block by block.

T5's bias depends on distance alone, so a block needs `query + key - 1` numbers a head of it: they are taken from the
bias by distance, and their gradient, the sum over each diagonal of the block, is added there. Blocks that are far from
one another need one number. The gradient of the learned table, a number a bucket, follows from that by distance.

Sources: Rabe and Staats 2021 (arXiv:2112.05682); Dao 2023 (FlashAttention-2, arXiv:2307.08691).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.models.masks import MASKED_SCORE, attention_mask
from t5x_lite.models.precision import precision_for
from t5x_lite.models.relative_position import BiasByDistance, windows

# Queries, and keys, of a block: of 128, 256 and 512, on a CPU the quickest at 2,048 tokens.
BLOCK = 256


def blockwise_attend(
    query: jax.Array,
    key_values: dict[str, jax.Array],
    bias: BiasByDistance | None,
    query_segment_ids: jax.Array | None,
    key_segment_ids: jax.Array | None,
    *,
    causal: bool,
    prefix_length: int = 0,
    block: int = BLOCK,
) -> jax.Array:
    """`attend` under `attention_mask`, without an array of queries by keys, in the backward pass neither.

    Args:
      query: [..., heads, query, kv].
      key_values: key and value, [..., heads, key, kv].
      bias: of these lengths, or None.
      query_segment_ids, key_segment_ids, causal, prefix_length: of `masks.attention_mask`.
      block: so many queries, and keys, at a time.

    Returns:
      [..., heads, query, kv], in the type of `query`.
    """
    queries, keys = query.shape[-2], key_values["key"].shape[-2]
    blocks = _Blocks(
        query=min(block, queries),
        key=min(block, keys),
        keys=keys,
        causal=causal,
        prefix_length=prefix_length,
        same_from=None if bias is None else bias.same_from,
        # A query without any key takes the mean of all values: no block of them may then be left out.
        sees_itself=query_segment_ids is key_segment_ids and queries == keys,
    )
    more_queries, more_keys = -queries % blocks.query, -keys % blocks.key
    out = _attend(
        blocks,
        _lengthened(query, 0, more_queries, -2),
        _lengthened(key_values["key"], 0, more_keys, -2),
        _lengthened(key_values["value"], 0, more_keys, -2),
        None if bias is None else _lengthened(bias.values, more_queries, more_keys, -1),
        None if query_segment_ids is None else _lengthened(query_segment_ids, 0, more_queries, -1),
        None if key_segment_ids is None else _lengthened(key_segment_ids, 0, more_keys, -1),
    )
    return out[..., :queries, :]


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """What is known of the blocks before the arrays are.

    query, key: positions of a block. keys: those that are no filling up of the last block.
    same_from: of the bias; None without one.
    sees_itself: whether every causal query sees at least the key of its own position.
    """

    query: int
    key: int
    keys: int
    causal: bool
    prefix_length: int
    same_from: int | None
    sees_itself: bool

    def pairs(self, queries: int, keys: int) -> Iterator[tuple[bool, np.ndarray]]:
        """First query and first key, int32 [pairs, 2], of the pairs of blocks that are computed: of those that are so
        far from one another that they share a bias (True), and of the others.
        """
        found: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        for pair in itertools.product(range(0, queries, self.query), range(0, keys, self.key)):
            if not self._is_ahead(*pair):
                found[self._is_far(*pair)].append(pair)
        return ((far, np.array(pairs, np.int32)) for far, pairs in found.items() if pairs)

    def _is_far(self, first_query: int, first_key: int) -> bool:
        """Whether all of these distances have the same bias."""
        distance = first_key - first_query
        apart = max(distance - self.query, -distance - self.key) + 1  # of the nearest two
        return self.same_from is None or apart >= self.same_from

    def _is_ahead(self, first_query: int, first_key: int) -> bool:
        """Whether the mask hides all of these keys from all of these queries."""
        beyond = first_key >= first_query + self.query and first_key >= self.prefix_length
        return self.causal and self.sees_itself and beyond


def _lengthened(x: jax.Array, before: int, behind: int, axis: int) -> jax.Array:
    """With so many zeros along an axis."""
    if before == behind == 0:
        return x
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, behind)
    return jnp.pad(x, widths)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(blocks: _Blocks, *inputs: Any) -> jax.Array:
    """inputs: query, key, value, bias, query_segment_ids, key_segment_ids, of whole blocks."""
    return _forward(blocks, *inputs)[0]


def _forward(blocks: _Blocks, *inputs: Any) -> tuple[jax.Array, Any]:
    query, _, value, *_ = inputs
    precision = precision_for(query.dtype)

    def add(far: bool, carry: Any, pair: jax.Array) -> Any:
        """largest: of the scores so far. total: of exp(score - largest). out: the values, weighted so."""
        at = functools.partial(_part, start=pair[0], size=blocks.query)
        before, total, out = (at(x, axis=axis) for x, axis in zip(carry, (-1, -1, -2), strict=True))
        scores, _ = _scores(blocks, inputs, pair, far)
        largest = jnp.maximum(before, scores.max(axis=-1))
        weights = jnp.exp(scores - largest[..., None])
        scale = jnp.exp(before - largest)
        values = _part(value, pair[1], blocks.key, -2)
        new = jnp.einsum(
            "...qk,...kd->...qd", weights.astype(value.dtype), values,
            preferred_element_type=jnp.float32, precision=precision,
        )  # fmt: skip
        total = total * scale + weights.sum(axis=-1)
        out = out * scale[..., None] + new
        return (
            _put(carry[0], largest, pair[0], -1),
            _put(carry[1], total, pair[0], -1),
            _put(carry[2], out, pair[0], -2),
        )

    start = jnp.full(query.shape[:-1], MASKED_SCORE, jnp.float32)
    carry: Any = (start, jnp.zeros_like(start), jnp.zeros(query.shape, jnp.float32))
    pairs = blocks.pairs(query.shape[-2], value.shape[-2])
    largest, total, out = _over_pairs(add, carry, pairs)
    out = (out / total[..., None]).astype(query.dtype)
    return out, (inputs, largest, total, out)


def _backward(blocks: _Blocks, kept: Any, gradient: jax.Array) -> tuple:
    """Gradients of query, key, value and bias, summed up in float32."""
    inputs, largest, total, out = kept
    query, key, value, bias, *_ = inputs
    product = functools.partial(
        jnp.einsum, preferred_element_type=jnp.float32, precision=precision_for(query.dtype)
    )
    # What a softmax takes off each weight's gradient: the mean of them all, which is that of the output times it.
    mean = jnp.sum(gradient.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)

    def add(far: bool, carry: Any, pair: jax.Array) -> Any:
        of_query, of_key, of_value, of_bias = carry
        at_query = functools.partial(_part, start=pair[0], size=blocks.query)
        at_key = functools.partial(_part, start=pair[1], size=blocks.key)
        scores, mask = _scores(blocks, inputs, pair, far)
        weights = jnp.exp(scores - at_query(largest, axis=-1)[..., None])
        weights = weights / at_query(total, axis=-1)[..., None]
        pulled = at_query(gradient, axis=-2)
        new_value = product("...qk,...qd->...kd", weights.astype(query.dtype), pulled)
        of_weights = product("...qd,...kd->...qk", pulled, at_key(value, axis=-2))
        of_scores = weights * (of_weights - at_query(mean, axis=-1)[..., None])
        if mask is not None:  # a masked score is a constant
            of_scores = jnp.where(mask, of_scores, 0.0)
        rounded = of_scores.astype(query.dtype)
        new_query = product("...qk,...kd->...qd", rounded, at_key(key, axis=-2))
        new_key = product("...qk,...qd->...kd", rounded, at_query(query, axis=-2))
        if of_bias is not None:
            start, size = _distances(blocks, query.shape[-2], pair, far)
            sums = of_scores.sum(axis=(-2, -1))[..., None] if far else _diagonal_sums(of_scores)
            of_bias = _put(of_bias, sums + _part(of_bias, start, size, -1), start, -1)
        return (
            _put(of_query, new_query + at_query(of_query, axis=-2), pair[0], -2),
            _put(of_key, new_key + at_key(of_key, axis=-2), pair[1], -2),
            _put(of_value, new_value + at_key(of_value, axis=-2), pair[1], -2),
            of_bias,
        )

    # Of the bias a row: a sum over rows of several devices would be one over the network in every block.
    rows = query.shape[:-3]
    of_bias: Any = None if bias is None else jnp.zeros((*rows, *bias.shape), jnp.float32)
    carry: Any = (*(jnp.zeros(x.shape, jnp.float32) for x in (query, key, value)), of_bias)
    pairs = blocks.pairs(query.shape[-2], value.shape[-2])
    *of_inputs, of_bias = _over_pairs(add, carry, pairs)
    if bias is not None:
        of_bias = of_bias.sum(axis=tuple(range(len(rows)))).astype(bias.dtype)
    of_query, of_key, of_value = (
        new.astype(x.dtype) for new, x in zip(of_inputs, (query, key, value), strict=True)
    )
    return of_query, of_key, of_value, of_bias, None, None


_attend.defvjp(_forward, _backward)


def _over_pairs(
    add: Callable[[bool, Any, jax.Array], Any], carry: Any, pairs: Iterable[tuple[bool, np.ndarray]]
) -> Any:
    for far, some in pairs:
        # `checkpoint`, though nothing is differentiated here: where a layer is recomputed in a scan, jax takes out of
        # its loops all that does not depend on parameters, and would keep the masks of all pairs at once.
        body = jax.checkpoint(
            lambda carry, pair, far=far: (add(far, carry, pair), None), prevent_cse=False
        )
        carry, _ = jax.lax.scan(body, carry, some)
    return carry


def _scores(
    blocks: _Blocks, inputs: Any, pair: jax.Array, far: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Of a pair of blocks: float32 [..., heads, query, key] with bias and mask; and the mask, of as many axes."""
    query, key, _, bias, query_ids, key_ids = inputs
    first_query, first_key = pair
    scores = jnp.einsum(
        "...qd,...kd->...qk",
        _part(query, first_query, blocks.query, -2),
        _part(key, first_key, blocks.key, -2),
        preferred_element_type=jnp.float32,
        precision=precision_for(query.dtype),
    )
    if bias is not None:
        start, size = _distances(blocks, query.shape[-2], pair, far)
        block = _part(bias, start, size, -1)
        block = block[..., None] if far else windows(block, blocks.query)
        scores = scores + jnp.expand_dims(block, tuple(range(scores.ndim - 3)))
    mask = attention_mask(
        None if query_ids is None else _part(query_ids, first_query, blocks.query, -1),
        None if key_ids is None else _part(key_ids, first_key, blocks.key, -1),
        causal=blocks.causal,
        query_length=blocks.query,
        key_length=blocks.key,
        prefix_length=blocks.prefix_length,
        first_query=first_query,
        first_key=first_key,
    )
    if mask is not None:
        mask = jnp.expand_dims(mask, -3)  # over heads
        mask = jnp.expand_dims(mask, tuple(range(scores.ndim - mask.ndim)))
        scores = jnp.where(mask, scores, MASKED_SCORE)
    if blocks.keys % blocks.key:  # the last block is filled up: of that, nothing counts
        filled = first_key + jnp.arange(blocks.key) < blocks.keys
        filled = jnp.expand_dims(filled, tuple(range(scores.ndim - 1)))
        scores = jnp.where(filled, scores, -jnp.inf)
    return scores, mask


def _distances(blocks: _Blocks, queries: int, pair: jax.Array, far: bool) -> tuple[jax.Array, int]:
    """Where the distances of a pair of blocks begin in the bias, and how many they are: one for blocks far apart."""
    first = (
        pair[1] - pair[0] + queries - 1
    )  # of the first query to the first key: never one of filled up blocks
    if far:
        return first, 1
    return first - (blocks.query - 1), blocks.query + blocks.key - 1


def _diagonal_sums(block: jax.Array) -> jax.Array:
    """[..., query, key] -> [..., query + key - 1]: what `windows` does, transposed."""
    *leading, queries, keys = block.shape
    shape = jax.ShapeDtypeStruct((*leading, queries + keys - 1), block.dtype)
    return jax.linear_transpose(functools.partial(windows, query_length=queries), shape)(block)[0]


def _part(x: jax.Array, start: jax.Array, size: int, axis: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size, axis)


def _put(x: jax.Array, new: jax.Array, start: jax.Array, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, new, start, axis)
