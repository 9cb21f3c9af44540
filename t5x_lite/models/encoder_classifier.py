"""Encoder-only sequence classifiers: BERT, RoBERTa, DistilBERT (post-norm, absolute positions, first token read).

Padding may stand on either side: positions count from a row's first real token, and the head reads that token.
(transformers reads position 0 of the batch, so that a row padded on the left is answered from its pad.)
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.attention import attend
from t5x_lite.models.axes import constrain, named
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.models.layers import drop
from t5x_lite.models.masks import attention_mask, segment_ids_from_tokens
from t5x_lite.models.precision import precision_for

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": lambda x: nn.gelu(x, approximate=True),
    "relu": nn.relu,
}


class Dense(nn.Module):
    """A kernel contracted over its first axes, and a bias over the others."""

    kernel_shape: tuple[int, ...]
    kernel_axes: tuple[str | None, ...]
    stddev: float
    dtype: str
    contracted: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., *kernel_shape[:contracted]] -> [..., *kernel_shape[contracted:]]."""
        init = nn.initializers.normal(self.stddev)
        kernel = self.param("kernel", named(init, *self.kernel_axes), self.kernel_shape)
        bias = self.param(
            "bias",
            named(nn.initializers.zeros_init(), *self.kernel_axes[self.contracted :]),
            self.kernel_shape[self.contracted :],
        )
        y = jnp.tensordot(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            axes=self.contracted,
            precision=precision_for(self.dtype),
        )
        return y + jnp.expand_dims(bias.astype(self.dtype), tuple(range(y.ndim - bias.ndim)))


class LayerNorm(nn.Module):
    """Mean and variance over `embed` in float32, scale and bias."""

    size: int
    epsilon: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, length, embed] -> the same."""
        scale = self.param("scale", named(nn.initializers.ones_init(), "embed"), (self.size,))
        bias = self.param("bias", named(nn.initializers.zeros_init(), "embed"), (self.size,))
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        lead = (None,) * (x.ndim - 1)
        y = centred * jax.lax.rsqrt(variance + self.epsilon)
        return (y * scale.astype(jnp.float32)[lead] + bias.astype(jnp.float32)[lead]).astype(
            self.dtype
        )


class Embeddings(nn.Module):
    """Token, position and (not DistilBERT) type embeddings, summed and normed."""

    config: EncoderConfig
    dtype: str

    @nn.compact
    def __call__(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """int32 [batch, length] each -> [batch, length, embed]."""
        config = self.config
        init = nn.initializers.normal(config.initializer_range)

        def table(name: str, rows: int, axis: str | None) -> jax.Array:
            return self.param(name, named(init, axis, "embed"), (rows, config.d_model))

        x = jnp.take(table("token_embedding", config.vocab_size, "vocab"), tokens, axis=0)
        x = x + jnp.take(table("position_embedding", config.max_positions, None), positions, axis=0)
        if config.family != "distilbert":
            # A single text is of type 0 throughout.
            x = x + table("type_embedding", config.type_vocab_size, None)[0][None, None]
        x = LayerNorm(config.d_model, config.layer_norm_epsilon, self.dtype, name="norm")(x)
        return drop(self, constrain(x, "batch", "length", "embed"), config.dropout_rate)


class SelfAttention(nn.Module):
    """Scaled dot-product attention with biases in all projections."""

    config: EncoderConfig
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """[batch, length, embed], bool [batch, length, length] -> [batch, length, embed]."""
        config = self.config
        heads, kv = config.num_heads, config.d_model // config.num_heads

        def into_heads(name: str) -> jax.Array:
            dense = Dense(
                (config.d_model, heads, kv),
                ("embed", "heads", "kv"),
                config.initializer_range,
                self.dtype,
                name=name,
            )
            return constrain(jnp.swapaxes(dense(x), 1, 2), "batch", "heads", "length", "kv")

        query = into_heads("query") * jnp.asarray(kv**-0.5, self.dtype)
        value = drop(self, into_heads("value"), config.attention_dropout_rate, shared_axis=-1)
        out = attend(query, {"key": into_heads("key"), "value": value}, None, mask)
        return Dense(
            (heads, kv, config.d_model),
            ("heads", "kv", "embed"),
            config.initializer_range,
            self.dtype,
            contracted=2,
            name="out",
        )(jnp.swapaxes(out, 1, 2))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual and the norm behind it."""

    config: EncoderConfig
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """[batch, length, embed], bool [batch, length, length] -> [batch, length, embed]."""
        config, rate = self.config, self.config.dropout_rate

        def norm(name: str) -> LayerNorm:
            return LayerNorm(config.d_model, config.layer_norm_epsilon, self.dtype, name=name)

        def dense(name: str, rows: int, columns: int, axes: tuple[str, str]) -> Dense:
            return Dense((rows, columns), axes, config.initializer_range, self.dtype, name=name)

        attended = SelfAttention(config, self.dtype, name="attention")(x, mask)
        x = norm("attention_norm")(x + drop(self, attended, rate))
        hidden = dense("wi", config.d_model, config.d_ff, ("embed", "mlp"))(x)
        hidden = constrain(_ACTIVATIONS[config.activation](hidden), "batch", "length", "mlp")
        out = dense("wo", config.d_ff, config.d_model, ("mlp", "embed"))(hidden)
        return norm("mlp_norm")(x + drop(self, constrain(out, "batch", "length", "embed"), rate))


class EncoderClassifier(nn.Module):
    """Tokens to logits of `config.labels`. Dropout acts where the call gives a `dropout` rng."""

    config: EncoderConfig
    dtype: str = "float32"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the logits, in order."""
        return self.config.labels

    def setup(self) -> None:
        config = self.config
        self.embeddings = Embeddings(config, self.dtype)
        self.layers = [EncoderLayer(config, self.dtype) for _ in range(config.num_layers)]
        # Heads are small, and in float32. The input axis is "embed", as everywhere; an array takes no mesh axis twice.
        square, axes = (config.d_model, config.d_model), ("embed", None)
        out = (config.d_model, len(config.labels))
        self.head_dense = Dense(square, axes, config.initializer_range, "float32")
        self.head_out = Dense(out, axes, config.initializer_range, "float32")

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
        """int32 [batch, length] -> logits, float32 [batch, labels].

        segment_ids: int32 [batch, length], 1 on tokens and 0 on padding; None: every token but the pad counts.
        """
        real = self._real(tokens, segment_ids)
        hidden = self.encode(tokens, segment_ids)
        first = jnp.argmax(real, axis=1)[:, None, None]
        return self._head(jnp.take_along_axis(hidden, first, axis=1))

    def encode(self, tokens: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
        """The hidden states of the last layer, without the head: int32 [batch, length] -> [batch, length, embed].

        segment_ids: as `__call__`. What stands at padding means nothing.
        """
        real = self._real(tokens, segment_ids)
        # Pads get the first position: what they hold is masked everywhere.
        positions = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0) + self.config.first_position
        length = tokens.shape[1]
        segments = real.astype(jnp.int32) if segment_ids is None else segment_ids
        mask = attention_mask(None, segments, causal=False, query_length=length, key_length=length)
        assert mask is not None
        x = self.embeddings(tokens, positions)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def _real(self, tokens: jax.Array, segment_ids: jax.Array | None) -> jax.Array:
        """bool [batch, length]: where a token stands."""
        if segment_ids is None:
            segment_ids = segment_ids_from_tokens(tokens, self.config.pad_token_id)
        return segment_ids != 0

    def _head(self, x: jax.Array) -> jax.Array:
        """[batch, 1, embed] -> float32 [batch, labels]."""
        config = self.config
        if config.family == "roberta":
            x = drop(self, x, config.classifier_dropout_rate)
        x = self.head_dense(x)
        x = nn.relu(x) if config.family == "distilbert" else jnp.tanh(x)
        x = drop(self, x, config.classifier_dropout_rate)
        return self.head_out(x)[:, 0]
