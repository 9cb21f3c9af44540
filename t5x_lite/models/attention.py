"""Multi-head attention as T5 defines it: no 1/sqrt(kv), a shared relative bias, no biases in the projections.

Letters of the einsums: b batch, r rows (batch x beams), n queries of a row, q query, k key, h heads, d kv.
"""

from __future__ import annotations

import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.axes import constrain
from t5x_lite.models.blockwise_attention import blockwise_attend
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.layers import Projection, drop
from t5x_lite.models.masks import MASKED_SCORE, attention_mask
from t5x_lite.models.precision import precision_for
from t5x_lite.models.relative_position import BiasByDistance, RelativePositionBias

# Queries x keys from which `auto` takes blocks: on a CPU they save memory from 1,024 x 1,024 on, and time from here.
_LONG = 2048 * 2048

Bias = jax.Array | BiasByDistance  # of `self_attention_bias`
KeyValues = dict[str, jax.Array]  # "key" and "value", each [batch, heads, key, kv]


def attend(
    query: jax.Array,
    key_values: KeyValues,
    bias: jax.Array | None,
    mask: jax.Array | None,
) -> jax.Array:
    """Softmax attention, scores and softmax in float32.

    Args:
      query: [..., heads, query, kv].
      key_values: key and value, [..., heads, key, kv].
      bias: float32 [heads, query, key] (or with 1 for query), or such a one a row, or None.
      mask: bool [..., query, key], True where allowed, or None.

    Returns:
      [..., heads, query, kv], in the type of `query`.
    """
    precision = precision_for(query.dtype)
    scores = jnp.einsum(
        "...qd,...kd->...qk",
        query,
        key_values["key"],
        preferred_element_type=jnp.float32,
        precision=precision,
    )
    if bias is not None:
        scores = scores + jnp.expand_dims(bias, tuple(range(scores.ndim - bias.ndim)))
    if mask is not None:
        mask = jnp.expand_dims(mask, -3)  # over heads
        mask = jnp.expand_dims(mask, tuple(range(scores.ndim - mask.ndim)))
        scores = jnp.where(mask, scores, MASKED_SCORE)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    return jnp.einsum("...qk,...kd->...qd", weights, key_values["value"], precision=precision)


def rowwise_attend(
    query: jax.Array,
    key_values: KeyValues,
    bias: jax.Array | None,
    query_segment_ids: jax.Array | None,
    key_segment_ids: jax.Array | None,
    *,
    causal: bool,
    prefix_length: int = 0,
) -> jax.Array:
    """`attend`, one batch row at a time, recomputed in the backward pass.

    The [heads, query, key] scores of one row stay in a CPU's cache; those of a batch do not, and every fresh
    buffer of that size is paid in page faults.
    """

    @jax.checkpoint
    def row(inputs: tuple) -> jax.Array:
        q, kv, query_ids, key_ids = inputs
        mask = attention_mask(
            query_ids,
            key_ids,
            causal=causal,
            query_length=q.shape[-2],
            key_length=kv["key"].shape[-2],
            prefix_length=prefix_length,
        )
        return attend(q, kv, bias, mask)

    return jax.lax.map(row, (query, key_values, query_segment_ids, key_segment_ids))


def attention_of(execution: Execution, query_length: int, key_length: int) -> str:
    """How attention of these lengths is computed: "einsum", "rowwise" or "blockwise"."""
    if execution.attention != "auto":
        return execution.attention
    if query_length * key_length >= _LONG:
        return "blockwise"
    # A loop over a sharded batch axis would gather it.
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        is_one_cpu = jax.default_backend() == "cpu"
    else:
        # Of the mesh: a program may be compiled for other devices than those of this process.
        device = mesh.abstract_device
        is_one_cpu = math.prod(mesh.axis_sizes) == 1 and device is not None
        is_one_cpu = is_one_cpu and device.device_kind == "cpu"
    return "rowwise" if is_one_cpu else "einsum"


def self_attention_bias(
    relpos_bias: RelativePositionBias, execution: Execution, length: int
) -> Bias:
    """The bias that `Attention` takes where queries and keys are the same `length` positions.

    Returns:
      float32 [heads, length, length]; by distance where attention is blockwise.
    """
    if attention_of(execution, length, length) == "blockwise":
        far = relpos_bias.config.relative_attention_max_distance
        return BiasByDistance(relpos_bias.by_distance(length, length), far)
    return relpos_bias(length, length)


class Attention(nn.Module):
    """Query, key, value and output kernels, and the attention between them."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        config = self.config
        inner, factor = config.num_heads * config.d_kv, config.initializer_factor

        def into_heads(stddev: float) -> Projection:
            shape = (config.d_model, config.num_heads, config.d_kv)
            return Projection(shape, ("embed", "heads", "kv"), stddev, self.execution.dtype)

        # 1/sqrt(kv) is folded into the query's initialization instead of dividing the scores.
        self.query = into_heads(factor * (config.d_model * config.d_kv) ** -0.5)
        self.key = into_heads(factor * config.d_model**-0.5)
        self.value = into_heads(factor * config.d_model**-0.5)
        self.out = Projection(
            (config.num_heads, config.d_kv, config.d_model),
            ("heads", "kv", "embed"),
            factor * inner**-0.5,
            self.execution.dtype,
            contracted=2,
        )

    def key_values(self, x: jax.Array) -> KeyValues:
        """[batch, key, embed] -> key and value, each [batch, heads, key, kv]."""
        return {
            name: constrain(jnp.swapaxes(projection(x), 1, 2), "batch", "heads", "length", "kv")
            for name, projection in (("key", self.key), ("value", self.value))
        }

    def __call__(
        self,
        x: jax.Array,
        attended: jax.Array,
        bias: Bias | None,
        query_segment_ids: jax.Array | None,
        key_segment_ids: jax.Array | None,
        *,
        causal: bool = False,
        prefix_length: int = 0,
    ) -> jax.Array:
        """Attention of `x` [batch, query, embed] to `attended` [batch, key, embed] -> [batch, query, embed].

        bias: of `self_attention_bias`, or None.
        causal, prefix_length: of `masks.attention_mask`.
        """
        query = constrain(jnp.swapaxes(self.query(x), 1, 2), "batch", "heads", "length", "kv")
        key_values = self.key_values(attended)
        # One dropout mask over all queries falls on the keys, so it can fall on their values beforehand.
        key_values["value"] = drop(
            self, key_values["value"], self.config.dropout_rate, shared_axis=-1
        )
        how = attention_of(self.execution, x.shape[1], attended.shape[1])
        if how != "einsum":
            function: Any = rowwise_attend if how == "rowwise" else blockwise_attend
            out = function(
                query, key_values, bias, query_segment_ids, key_segment_ids,
                causal=causal, prefix_length=prefix_length,
            )  # fmt: skip
        else:
            mask = attention_mask(
                query_segment_ids,
                key_segment_ids,
                causal=causal,
                query_length=x.shape[1],
                key_length=attended.shape[1],
                prefix_length=prefix_length,
            )
            out = attend(query, key_values, cast("jax.Array | None", bias), mask)
        return self._merge_heads(out)

    def step(
        self,
        x: jax.Array,
        key_values: KeyValues,
        bias: jax.Array | None,
        mask: jax.Array,
    ) -> jax.Array:
        """Attention of one new position to given keys and values.

        Args:
          x: [rows, 1, embed], rows = batch x beams.
          key_values: [batch, heads, key, kv]; one copy serves all beams of a batch row.
          bias: [heads, 1, key], or one a row where rows = batch, or None.
          mask: bool [batch, 1, key].

        Returns:
          [rows, 1, embed].
        """
        rows, batch = x.shape[0], key_values["key"].shape[0]
        query = self.query(x)[:, 0]  # [rows, heads, kv]
        query = query.reshape(batch, rows // batch, *query.shape[1:])
        out = attend(jnp.swapaxes(query, 1, 2), key_values, bias, mask)  # b h n d
        out = jnp.swapaxes(out, 1, 2).reshape(rows, 1, self.config.num_heads, self.config.d_kv)
        return self.out(out)

    def _merge_heads(self, out: jax.Array) -> jax.Array:
        out = self.out(jnp.swapaxes(out, 1, 2))
        return constrain(out, "batch", "length", "embed")
