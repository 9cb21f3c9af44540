"""Soft prompts (prompt tuning): trained vectors before the embedded encoder input, the model itself frozen.

The adapter tree is one leaf, `soft_prompt` float32 [prompt_length, embed].

Source: Lester et al. 2021 (arXiv:2104.08691).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t5x_lite.params.paths import Params
from t5x_lite.params.sections import SoftPrompt

SOFT_PROMPT = "soft_prompt"
_EMBEDDING = ("token_embedder", "embedding")


class SoftPromptSettings(SoftPrompt):
    """How long a soft prompt is, and what it starts from."""

    def init(self, params: Params, rng: jax.Array) -> Params:
        """A new prompt. `params`: canonical; read for the embeddings of drawn tokens."""
        embedding = params[_EMBEDDING[0]][_EMBEDDING[1]]
        vocab, embed = embedding.shape
        if self.init_from == "normal":
            return {SOFT_PROMPT: jax.random.normal(rng, (self.length, embed), jnp.float32)}
        tokens = jax.random.randint(rng, (self.length,), 0, vocab)
        return {SOFT_PROMPT: jnp.take(embedding, tokens, axis=0).astype(jnp.float32)}

    def axes(self, params: Params, axes: Params) -> Params:
        """The logical axes of `init`'s leaf."""
        return {SOFT_PROMPT: ("length", axes[_EMBEDDING[0]][_EMBEDDING[1]][1])}
