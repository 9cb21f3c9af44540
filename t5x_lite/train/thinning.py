"""Texts thinned in training: tokens left out, and texts cut to a span.

A classifier shall lean on no single word, nor on a length.
What is left out becomes padding, which counts for nothing: BERT's positions count the tokens that are there, and a T5's
relative positions only grow apart. The first and the last token stay, as special tokens stand there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t5x_lite.train.sections import Thinning

# The shortest span: so many tokens, or a quarter of the text where that is more.
_FEWEST, _SHARE = 8, 0.25


def thinned(tokens: jax.Array, rng: jax.Array, pad_id: int, thinning: Thinning) -> jax.Array:
    """int32 [batch, length], padded on either side -> the same, with `pad_id` for what is left out."""
    if not thinning.token_dropout and not thinning.crop:
        return tokens
    real = tokens != pad_id
    place = jnp.cumsum(real, axis=1) - 1  # of a real token: 0 is the first, inner + 1 the last
    inner = jnp.sum(real, axis=1) - 2
    is_inner = real & (place > 0) & (place <= inner[:, None])
    of_crop, of_length, of_start, of_tokens = jax.random.split(rng, 4)
    shape = (tokens.shape[0],)
    # A span of `length` inner tokens from `start` (the first inner token is 1); lengths and starts are equally likely.
    fewest = jnp.minimum(inner, jnp.maximum(_FEWEST, jnp.int32(_SHARE * inner)))
    length = fewest + _below(of_length, shape, inner - fewest + 1)
    start = 1 + _below(of_start, shape, inner - length + 1)
    within = (place >= start[:, None]) & (place < (start + length)[:, None])
    whole = ~jax.random.bernoulli(of_crop, thinning.crop, shape)[:, None]
    stays = jax.random.bernoulli(of_tokens, 1.0 - thinning.token_dropout, tokens.shape)
    return jnp.where(is_inner & ~((whole | within) & stays), pad_id, tokens)


def _below(rng: jax.Array, shape: tuple[int, ...], limits: jax.Array) -> jax.Array:
    """Whole numbers >= 0 and below the limits (0 where a limit is below 1), each as likely."""
    drawn = jax.random.uniform(rng, shape) * jnp.maximum(limits, 1)
    return jnp.minimum(drawn.astype(jnp.int32), jnp.maximum(limits, 1) - 1)
