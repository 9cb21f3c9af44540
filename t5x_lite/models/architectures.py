"""T5's parts put together otherwise: an encoder alone, and a decoder alone that reads the input as its prefix.

Both have the surface of `models.t5.T5` that training needs (`hidden`, `output_kernel`) and take the same batches; their
parameters have T5's names. Raffel et al. 2020, section 3.2, compares these architectures.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.attention import self_attention_bias
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.layers import Embedding, RMSNorm, drop
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.relative_position import RelativePositionBias
from t5x_lite.models.stacks import Encoder, EncoderLayer, LogitsKernel
from t5x_lite.models.t5 import project


class _OneStack(nn.Module):
    """Embedding, one stack, output projection; `config.num_encoder_layers` or `num_decoder_layers` layers."""

    config: T5Config
    execution: Execution

    def output_kernel(self, rows: int | None = None) -> Any:
        """As `T5.output_kernel`; these models take no adapters."""
        if self.config.tie_word_embeddings:
            return self.token_embedder.embedding.T
        return self.logits_dense.with_adapter(rows)

    def __call__(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """As `T5`: logits, float32 [batch, decoder_length, vocab]."""
        hidden = self.hidden(
            encoder_input_tokens, decoder_input_tokens, encoder_segment_ids, decoder_segment_ids
        )
        return project(self.config, self.output_kernel(), hidden)

    def _parts(self) -> None:
        self.token_embedder = Embedding(self.config, self.execution)
        if not self.config.tie_word_embeddings:
            self.logits_dense = LogitsKernel(self.config)


class EncoderOnly(_OneStack):
    """The mean of the encodings, projected: one token for a text (a class). It cannot write."""

    def setup(self) -> None:
        self._parts()
        self.encoder = Encoder(self.config, self.execution)

    def hidden(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """[batch, encoder_length], [batch, decoder_length] -> [batch, decoder_length, embed], the same everywhere: what
        was written before is not read.
        """
        ids = encoder_segment_ids
        if ids is None:
            ids = segment_ids_from_tokens(encoder_input_tokens, self.config.pad_token_id)
        encoded = self.encoder(self.token_embedder(encoder_input_tokens), ids)
        weights = (ids != 0).astype(jnp.float32)[:, :, None]
        total = jnp.maximum(weights.sum(axis=1, keepdims=True), 1.0)
        mean = (encoded.astype(jnp.float32) * weights).sum(axis=1, keepdims=True) / total
        shape = (*decoder_input_tokens.shape, mean.shape[-1])
        return jnp.broadcast_to(mean, shape).astype(encoded.dtype)


class PrefixDecoder(nn.Module):
    """The layers of a decoder without cross-attention; positions look both ways, since a prefix is read so."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        if not self.config.has_bias_per_layer:
            self.relpos_bias = RelativePositionBias(self.config, bidirectional=True)
        self.layers = [
            EncoderLayer(self.config, self.execution) for _ in range(self.config.num_decoder_layers)
        ]
        self.decoder_norm = RMSNorm(self.config, self.execution)

    def __call__(self, x: jax.Array, segment_ids: jax.Array, prefix_length: int) -> jax.Array:
        """[batch, length, embed], int32 [batch, length] -> [batch, length, embed], final norm applied."""
        rate, length = self.config.dropout_rate, x.shape[1]
        bias = None
        if not self.config.has_bias_per_layer:
            bias = self_attention_bias(self.relpos_bias, self.execution, length)
        x = drop(self, x, rate)
        for layer in self.layers:
            x, _ = layer(x, bias, segment_ids, prefix_length)
        return drop(self, self.decoder_norm(x), rate)


class DecoderOnly(_OneStack):
    """A prefix language model (Raffel et al. 2020, section 3.2.1): input read whole, target left to right."""

    def setup(self) -> None:
        self._parts()
        self.decoder = PrefixDecoder(self.config, self.execution)

    def hidden(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """[batch, encoder_length], [batch, decoder_length] -> hidden states [batch, decoder_length, embed].

        The input's pads are moved before it, so that the target stands right behind the input: distances are then those
        of the text, however far it was padded. Not for packed rows, whose targets stand behind all inputs.
        """
        ids = encoder_segment_ids
        if ids is None:
            ids = segment_ids_from_tokens(encoder_input_tokens, self.config.pad_token_id)
        order = jnp.argsort(ids != 0, axis=1, stable=True)
        tokens = jnp.take_along_axis(encoder_input_tokens, order, axis=1)
        ids = jnp.take_along_axis(ids, order, axis=1)
        if decoder_segment_ids is None:
            decoder_segment_ids = jnp.ones_like(decoder_input_tokens)
        x = self.token_embedder(jnp.concatenate([tokens, decoder_input_tokens], axis=1))
        ids = jnp.concatenate([ids, decoder_segment_ids], axis=1)
        prefix = encoder_input_tokens.shape[1]
        return self.decoder(x, ids, prefix)[:, prefix:]
