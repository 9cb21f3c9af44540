"""The encoder and decoder layers, and how a stack of them runs: unrolled or scanned, with or without remat."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.adapters import output_kernel
from t5x_lite.models.attention import Attention, Bias, KeyValues, self_attention_bias
from t5x_lite.models.axes import named
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.layers import FeedForward, RMSNorm, drop
from t5x_lite.models.relative_position import RelativePositionBias

_REMAT_POLICIES = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward, each with a residual."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        parts = (self.config, self.execution)
        if self.config.has_bias_per_layer:
            self.relpos_bias = RelativePositionBias(self.config, bidirectional=True)
        self.pre_attention_layer_norm = RMSNorm(*parts)
        self.attention = Attention(*parts)
        self.pre_mlp_layer_norm = RMSNorm(*parts)
        self.mlp = FeedForward(*parts)

    def __call__(
        self,
        x: jax.Array,
        bias: Bias | None,
        segment_ids: jax.Array,
        prefix_length: int | None = None,
    ) -> tuple[jax.Array, None]:
        """[batch, length, embed] -> (the same, None): the second is what `nn.scan` would stack.

        bias: of the stack; None where each layer has its own.
        prefix_length: where it is given, what stands behind so many positions is seen from behind alone.
        """
        rate = self.config.dropout_rate
        if bias is None:
            bias = self_attention_bias(self.relpos_bias, self.execution, x.shape[1])
        h = self.pre_attention_layer_norm(x)
        h = self.attention(
            h, h, bias, segment_ids, segment_ids,
            causal=prefix_length is not None, prefix_length=prefix_length or 0,
        )  # fmt: skip
        x = x + drop(self, h, rate)
        x = x + drop(self, self.mlp(self.pre_mlp_layer_norm(x)), rate)
        return x, None


class DecoderLayer(nn.Module):
    """Pre-norm causal self-attention, cross-attention and feed-forward, each with a residual."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        parts = (self.config, self.execution)
        if self.config.has_bias_per_layer:
            self.relpos_bias = RelativePositionBias(self.config, bidirectional=False)
        self.pre_self_attention_layer_norm = RMSNorm(*parts)
        self.self_attention = Attention(*parts)
        self.pre_cross_attention_layer_norm = RMSNorm(*parts)
        self.encoder_decoder_attention = Attention(*parts)
        self.pre_mlp_layer_norm = RMSNorm(*parts)
        self.mlp = FeedForward(*parts)

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        bias: Bias | None,
        segment_ids: jax.Array | None,
        encoder_segment_ids: jax.Array,
    ) -> tuple[jax.Array, None]:
        """[batch, length, embed] -> (the same, None); a `bias` of None as in `EncoderLayer`."""
        rate = self.config.dropout_rate
        if bias is None:
            bias = self_attention_bias(self.relpos_bias, self.execution, x.shape[1])
        h = self.pre_self_attention_layer_norm(x)
        h = self.self_attention(h, h, bias, segment_ids, segment_ids, causal=True)
        x = x + drop(self, h, rate)
        h = self.pre_cross_attention_layer_norm(x)
        h = self.encoder_decoder_attention(h, encoded, None, segment_ids, encoder_segment_ids)
        x = x + drop(self, h, rate)
        x = x + drop(self, self.mlp(self.pre_mlp_layer_norm(x)), rate)
        return x, None

    def step(
        self,
        x: jax.Array,
        position: jax.Array,
        cache: KeyValues,
        cross: KeyValues,
        bias: jax.Array | None,
        encoder_mask: jax.Array,
    ) -> tuple[jax.Array, KeyValues]:
        """One new position [rows, 1, embed] against its cache -> (the same, the cache with this position in it)."""
        h = self.pre_self_attention_layer_norm(x)
        new = self.self_attention.key_values(h)
        cache = {name: _put(cache[name], new[name], position) for name in cache}
        max_length = cache["key"].shape[2]
        if bias is None:
            bias = self.relpos_bias.step(position, max_length)
        seen = (jnp.arange(max_length)[None] <= jnp.reshape(position, (-1, 1)))[:, None]
        x = x + self.self_attention.step(h, cache, bias, seen)
        h = self.pre_cross_attention_layer_norm(x)
        x = x + self.encoder_decoder_attention.step(h, cross, None, encoder_mask)
        return x + self.mlp(self.pre_mlp_layer_norm(x)), cache


def _put(cache: jax.Array, new: jax.Array, position: jax.Array) -> jax.Array:
    """[rows, heads, max_length, kv] with `new` [rows, heads, 1, kv] at `position` ([] or [rows])."""
    new = new.astype(cache.dtype)
    if not position.ndim:
        return jax.lax.dynamic_update_slice_in_dim(cache, new, position, axis=2)
    rows = jnp.arange(len(position))
    return cache.at[rows, :, position].set(new[:, :, 0])


def _layers(layer: Any, config: T5Config, execution: Execution, count: int, inputs: int) -> Any:
    """A scanned stack (one module) or a list of `count` modules; `inputs`: arguments after the carried x."""
    if execution.remat != "none":
        layer = nn.remat(
            layer, policy=_REMAT_POLICIES[execution.remat], prevent_cse=not execution.scan_layers
        )
    if not execution.scan_layers:
        return [layer(config, execution) for _ in range(count)]
    scanned = nn.scan(
        layer,
        variable_axes={"params": 0, "adapters": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast,) * inputs,
        length=count,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    return scanned(config, execution)


def _run(layers: Any, x: jax.Array, *inputs: Any) -> jax.Array:
    for layer in layers if isinstance(layers, (list, tuple)) else [layers]:
        x, _ = layer(x, *inputs)
    return x


class Encoder(nn.Module):
    """Embedded tokens to encodings: layers, final norm."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        if not self.config.has_bias_per_layer:
            self.relpos_bias = RelativePositionBias(self.config, bidirectional=True)
        self.layers = _layers(
            EncoderLayer, self.config, self.execution, self.config.num_encoder_layers, inputs=2
        )
        self.encoder_norm = RMSNorm(self.config, self.execution)

    def __call__(self, x: jax.Array, segment_ids: jax.Array) -> jax.Array:
        """[batch, length, embed], int32 [batch, length] -> [batch, length, embed]."""
        rate, length = self.config.dropout_rate, x.shape[1]
        bias = None
        if not self.config.has_bias_per_layer:
            bias = self_attention_bias(self.relpos_bias, self.execution, length)
        x = _run(self.layers, drop(self, x, rate), bias, segment_ids)
        return drop(self, self.encoder_norm(x), rate)


class Decoder(nn.Module):
    """Embedded decoder inputs to hidden states, whole sequences or one position; and the output projection."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        config = self.config
        if not config.has_bias_per_layer:
            self.relpos_bias = RelativePositionBias(config, bidirectional=False)
        self.layers = _layers(
            DecoderLayer, config, self.execution, config.num_decoder_layers, inputs=4
        )
        self.decoder_norm = RMSNorm(config, self.execution)
        if not config.tie_word_embeddings:
            self.logits_dense = LogitsKernel(config)

    def __call__(
        self,
        x: jax.Array,
        encoded: jax.Array,
        segment_ids: jax.Array | None,
        encoder_segment_ids: jax.Array,
    ) -> jax.Array:
        """[batch, length, embed] -> [batch, length, embed], final norm applied."""
        rate, length = self.config.dropout_rate, x.shape[1]
        bias = None
        if not self.config.has_bias_per_layer:
            bias = self_attention_bias(self.relpos_bias, self.execution, length)
        x = drop(self, x, rate)
        x = _run(self.layers, x, encoded, bias, segment_ids, encoder_segment_ids)
        return drop(self, self.decoder_norm(x), rate)

    def cross_key_values(self, encoded: jax.Array) -> tuple[KeyValues, ...]:
        """Keys and values of the encodings for every layer: computed once a sequence."""
        return tuple(layer.encoder_decoder_attention.key_values(encoded) for layer in self.layers)

    def step(
        self,
        x: jax.Array,
        position: jax.Array,
        cache: tuple[KeyValues, ...],
        cross: tuple[KeyValues, ...],
        encoder_segment_ids: jax.Array,
    ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
        """One position ([], or one a row: [rows]) of [rows, 1, embed] -> (hidden [rows, 1, embed], new cache)."""
        bias = None
        if not self.config.has_bias_per_layer:
            bias = self.relpos_bias.step(position, cache[0]["key"].shape[2])
        encoder_mask = (encoder_segment_ids != 0)[:, None, :]
        new = []
        for layer, layer_cache, layer_cross in zip(self.layers, cache, cross, strict=True):
            x, layer_cache = layer.step(x, position, layer_cache, layer_cross, bias, encoder_mask)
            new.append(layer_cache)
        return self.decoder_norm(x), tuple(new)


class LogitsKernel(nn.Module):
    """The output projection of an untied model, kernel [embed, vocab]."""

    config: T5Config

    def setup(self) -> None:
        shape = (self.config.d_model, self.config.vocab_size)
        stddev = self.config.initializer_factor * self.config.d_model**-0.5
        self.kernel = self.param(
            "kernel",
            named(nn.initializers.normal(stddev), "embed", "vocab"),
            shape,
        )

    def with_adapter(self, rows: int | None) -> Any:
        """What `models.t5.project` takes; see `models.adapters.output_kernel`."""
        return output_kernel(self, self.kernel, rows)
