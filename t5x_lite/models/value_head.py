"""The value head of PPO: dropout and a linear map on decoder hidden states, in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.encoder_classifier import Dense
from t5x_lite.models.layers import drop


class ValueHead(nn.Module):
    """A value for every decoder position: what of the reward is still to come.

    As in lab 3: Dropout 0.1 and Linear(d, 1); the labs' 3,539,713 trainable parameters are the adapters' and these
    d + 1. It begins at zero, so that the first advantages are the rewards themselves.
    """

    d_model: int
    dropout_rate: float

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, length, embed] -> float32 [batch, length]."""
        hidden = drop(self, hidden.astype(jnp.float32), self.dropout_rate)
        return Dense((self.d_model, 1), ("embed", None), 0.0, "float32", name="out")(hidden)[..., 0]
