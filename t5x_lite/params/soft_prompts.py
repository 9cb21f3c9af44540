"""Soft prompts (prompt tuning): trained vectors before the embedded encoder input, the model itself frozen.

The adapter tree is one leaf, `soft_prompt` float32 [prompt_length, embed].

Source: Lester et al. 2021 (arXiv:2104.08691).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from t5x_lite.errors import InputError
from t5x_lite.params.paths import Params

SOFT_PROMPT = "soft_prompt"
INITS = ("vocabulary", "normal")
_EMBEDDING = ("token_embedder", "embedding")


@dataclasses.dataclass(frozen=True)
class SoftPromptSettings:
    """length: vectors in the prompt; they take no place from `data.encoder_length`.
    init_from: "vocabulary" starts from the embeddings of tokens drawn at random (the paper found it better), "normal"
      from a normal distribution of variance 1 (peft's default).
    """

    length: int
    init_from: str

    def __post_init__(self) -> None:
        if not isinstance(self.length, int) or isinstance(self.length, bool) or self.length < 1:
            raise InputError(f"adapter.length must be a whole number above 0, got {self.length!r}")
        if self.init_from not in INITS:
            raise InputError(f"adapter.init_from must be one of {INITS}, got {self.init_from!r}")

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
