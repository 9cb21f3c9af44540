"""T5 as a reward model: how good a response (the decoder's) is to a prompt (the encoder's)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.axes import named
from t5x_lite.models.encoder_classifier import Dense
from t5x_lite.models.logprobs import token_logprobs
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5 import T5, project

_CHUNK = 64  # positions whose logits exist at a time


class T5Scorer(T5):
    """A T5 with a scalar head on its last decoder state, and its own log-likelihood beside it.

    score = head(hidden of the last token) + likelihood_weight * log p(response | prompt)

    The head is that of Ouyang et al. 2022 (arXiv:2203.02155), on the model that writes; it begins at zero. The second
    term gives it a start: a T5 that can do the task tells most good responses from bad ones before any step.
    Parameters: a T5's, `head`, and `likelihood_weight` where `likelihood` is not 0.

    Attributes:
      labels: the name of the one score.
      likelihood: what `likelihood_weight`, which is learned, begins with, in points a nat; 0: no such term.
    """

    labels: tuple[str, ...] = ("score",)
    likelihood: float = 0.0

    def setup(self) -> None:
        super().setup()
        # Zeros: a new head says 0 of everything, and the first step decides its direction.
        self.head = Dense((self.config.d_model, len(self.labels)), ("embed", None), 0.0, "float32")
        if self.likelihood:
            init = nn.initializers.constant(self.likelihood)
            self.likelihood_weight = self.param("likelihood_weight", named(init, None), (1,))

    def __call__(self, tokens: jax.Array, responses: jax.Array) -> jax.Array:  # type: ignore[override]
        """Scores, float32 [batch, labels].

        Args:
          tokens: int32 [batch, length], the prompts, padded on either side.
          responses: int32 [batch, response_length], padded on the right, each with its eos.
        """
        ids = segment_ids_from_tokens(tokens, self.config.pad_token_id)
        return self.score(self.encode(tokens, ids), ids, responses)

    def score(self, encoded: jax.Array, segment_ids: jax.Array, responses: jax.Array) -> jax.Array:
        """`__call__` of prompts that are encoded already: the two responses of a pair share theirs."""
        config = self.config
        start = jnp.full_like(responses[:, :1], config.decoder_start_token_id)
        hidden = self.decode(
            jnp.concatenate([start, responses[:, :-1]], axis=1), encoded, segment_ids
        )
        real = (responses != config.pad_token_id).astype(jnp.float32)
        # The state that predicts the eos has read the whole response.
        last = jnp.maximum(real.sum(axis=1).astype(jnp.int32) - 1, 0)
        state = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
        scores = self.head(state.astype(jnp.float32))
        if not self.likelihood:
            return scores
        logprobs, _ = token_logprobs(
            functools.partial(project, config),
            self.output_kernel(),
            hidden,
            responses,
            chunk=_CHUNK,
        )
        total = jnp.sum(logprobs * real, axis=1, keepdims=True)
        return scores + self.likelihood_weight.astype(jnp.float32)[None] * total
