"""T5: encode, decode, project; and decoding one position at a time.

Every method is called through Linen: `model.apply({"params": params}, tokens, method="encode")`. Dropout acts
where the call gives a `dropout` rng: `model.apply(variables, ..., rngs={"dropout": rng})`. With `{"params": params,
"adapters": adapters}` the adapters act (`params.adapters.variables` makes either). A soft prompt among them stands
before the encodings: callers' segment ids are those of their tokens, here they get those of the prompt.

Sources: Raffel et al. 2020 (arXiv:1910.10683), Shazeer 2020 (arXiv:2002.05202); parameter names of T5X.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.adapters import adapt, prepend, prepend_ids
from t5x_lite.models.attention import KeyValues
from t5x_lite.models.axes import constrain
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.gathered import whole
from t5x_lite.models.layers import Embedding
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.precision import precision_for
from t5x_lite.models.stacks import Decoder, Encoder
from t5x_lite.params.partition import ADAPTERS
from t5x_lite.params.soft_prompts import SOFT_PROMPT


class T5(nn.Module):
    """The encoder-decoder. Tokens int32, logits float32, everything between in `execution.dtype`."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        self.token_embedder = Embedding(self.config, self.execution)
        self.encoder = Encoder(self.config, self.execution)
        self.decoder = Decoder(self.config, self.execution)

    def encode(
        self, encoder_input_tokens: jax.Array, encoder_segment_ids: jax.Array | None = None
    ) -> jax.Array:
        """[batch, length] -> encodings [batch, length, embed]; with a soft prompt the length is that of both.

        encoder_segment_ids: [batch, length], 0 = masked; None: every token but the pad is of segment 1.
        """
        if encoder_segment_ids is None:
            encoder_segment_ids = segment_ids_from_tokens(
                encoder_input_tokens, self.config.pad_token_id
            )
        x = self.token_embedder(encoder_input_tokens)
        if (prompt := self._soft_prompt()) is not None:
            x = constrain(prepend(prompt, x), "batch", "length", "embed")
        return self.encoder(x, self._encoded_ids(encoder_segment_ids))

    def decode(
        self,
        decoder_input_tokens: jax.Array,
        encoded: jax.Array,
        encoder_segment_ids: jax.Array,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """Teacher-forced: [batch, length] -> hidden states [batch, length, embed].

        `decoder_input_tokens` are the targets shifted right, so hidden[:, t] predicts target t. Without
        `decoder_segment_ids` every position is of segment 1 (padding behind the targets is then masked by
        causality, and its loss by the weights).
        """
        x = self.token_embedder(decoder_input_tokens)
        return self.decoder(x, encoded, decoder_segment_ids, self._encoded_ids(encoder_segment_ids))

    def project(self, hidden: jax.Array) -> jax.Array:
        """Hidden states [batch, length, embed] -> logits, float32 [batch, length, vocab]."""
        return project(self.config, self.output_kernel(), hidden)

    def output_kernel(self, rows: int | None = None) -> Any:
        """What `project` multiplies with: the kernel [embed, vocab] (tied: the embedding, transposed), or with an
        adapter on it a dict that `project` understands.

        rows: the size of the batch, where the adapter's dropout shall act (and the call gives a `dropout` rng).
        """
        if self.config.tie_word_embeddings:
            return self.token_embedder.embedding.T
        return self.decoder.logits_dense.with_adapter(rows)

    def __call__(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """[batch, encoder_length], [batch, decoder_length] -> logits, float32 [batch, decoder_length, vocab]."""
        return self.project(
            self.hidden(
                encoder_input_tokens, decoder_input_tokens, encoder_segment_ids, decoder_segment_ids
            )
        )

    def hidden(
        self,
        encoder_input_tokens: jax.Array,
        decoder_input_tokens: jax.Array,
        encoder_segment_ids: jax.Array | None = None,
        decoder_segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """What `__call__` projects: decoder hidden states [batch, decoder_length, embed]."""
        if encoder_segment_ids is None:
            encoder_segment_ids = segment_ids_from_tokens(
                encoder_input_tokens, self.config.pad_token_id
            )
        encoded = self.encode(encoder_input_tokens, encoder_segment_ids)
        return self.decode(decoder_input_tokens, encoded, encoder_segment_ids, decoder_segment_ids)

    def cross_key_values(self, encoded: jax.Array) -> tuple[KeyValues, ...]:
        """Per decoder layer, key and value of the encodings: [batch, heads, encoder_length, kv]. Unrolled models."""
        return self.decoder.cross_key_values(encoded)

    def decode_step(
        self,
        tokens: jax.Array,
        position: jax.Array,
        cache: tuple[KeyValues, ...],
        cross: tuple[KeyValues, ...],
        encoder_segment_ids: jax.Array,
    ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
        """One position of every row. Unrolled models.

        Args:
          tokens: int32 [rows, 1], the decoder inputs at `position`; rows = batch x beams.
          position: int32, 0 for the start token: one for all rows, or [rows] where rows = batch.
          cache: per layer, key and value [rows, heads, max_length, kv], filled before `position`.
          cross: of `cross_key_values`, [batch, ...]: not copied over beams.
          encoder_segment_ids: int32 [batch, encoder_length], 0 = masked.

        Returns:
          hidden states [rows, 1, embed], and the cache with this position filled.
        """
        x = self.token_embedder(tokens)
        return self.decoder.step(x, position, cache, cross, self._encoded_ids(encoder_segment_ids))

    def _soft_prompt(self) -> jax.Array | None:
        """[prompt_length, embed], where the caller's adapters hold one."""
        if not self.has_variable(ADAPTERS, SOFT_PROMPT):
            return None
        return self.get_variable(ADAPTERS, SOFT_PROMPT)

    def _encoded_ids(self, segment_ids: jax.Array) -> jax.Array:
        """The segment ids of the encodings, from those of the encoder's tokens."""
        prompt = self._soft_prompt()
        return segment_ids if prompt is None else prepend_ids(prompt, segment_ids)


def project(config: T5Config, kernel: Any, hidden: jax.Array) -> jax.Array:
    """Logits of hidden states with a given output kernel; the losses call it chunk by chunk.

    Args:
      kernel: [embed, vocab], or its dict with an adapter, of `T5.output_kernel`.
      hidden: [..., embed] in the compute type.

    Returns:
      float32 [..., vocab]; accumulated in float32 from operands in the compute type.
    """
    if config.scale_decoder_outputs:
        hidden = hidden * jnp.asarray(config.d_model**-0.5, hidden.dtype)
    adapted: dict[str, jax.Array] = {}
    if isinstance(kernel, dict):
        adapted = dict(kernel)
        kernel = adapted.pop("kernel")
    kernel_whole = whole(kernel, str(hidden.dtype), "embed", "vocab")
    logits = jnp.matmul(
        hidden,
        kernel_whole,
        preferred_element_type=jnp.float32,
        precision=precision_for(hidden.dtype),
    )
    if adapted:
        mask = adapted.pop("mask", None)
        mask = None if mask is None else mask.astype(hidden.dtype)
        logits = adapt(logits, hidden, kernel, adapted, mask)
    if logits.ndim == 3:
        logits = constrain(logits, "batch", "length", "vocab")
    return logits
