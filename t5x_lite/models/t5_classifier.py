"""T5's encoder with a linear head on the mean of its encodings: a classifier, or with one label a scalar (reward)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import Dense
from t5x_lite.models.layers import Embedding
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.stacks import Encoder


class T5Classifier(nn.Module):
    """Tokens to logits of `labels`. Parameters: T5's `token_embedder` and `encoder`, and `head`."""

    config: T5Config
    labels: tuple[str, ...]
    execution: Execution

    def setup(self) -> None:
        self.token_embedder = Embedding(self.config, self.execution)
        self.encoder = Encoder(self.config, self.execution)
        shape = (self.config.d_model, len(self.labels))
        # Zeros: a new head says 0 of everything, and the first step decides its direction.
        self.head = Dense(shape, ("embed", None), 0.0, "float32")

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array | None = None) -> jax.Array:
        """int32 [batch, length], padded on either side -> logits, float32 [batch, labels].

        segment_ids: int32 [batch, length], 1 on tokens and 0 on padding; None: every token but the pad counts.
        """
        if segment_ids is None:
            segment_ids = segment_ids_from_tokens(tokens, self.config.pad_token_id)
        encoded = self.encoder(self.token_embedder(tokens), segment_ids).astype(jnp.float32)
        weights = (segment_ids != 0).astype(jnp.float32)[:, :, None]
        mean = (encoded * weights).sum(axis=1) / jnp.maximum(weights.sum(axis=1), 1.0)
        return self.head(mean)
