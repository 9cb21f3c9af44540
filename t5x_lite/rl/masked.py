"""Mean, variance and whitening over the tokens that count. All in float32, whatever comes in.

Every function takes `mask` in the shape of the values, 1 where a token counts. A mask without any token gives 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_EPSILON = 1e-8


def masked_sum(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Sum over the tokens that count; what the others hold (NaN even) does not matter."""
    values = jnp.where(mask > 0, values.astype(jnp.float32), 0.0)
    return jnp.sum(values, axis=axis)


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over all tokens that count, a scalar."""
    return masked_sum(values, mask) / jnp.maximum(_count(mask), 1.0)


def masked_var(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Unbiased variance over all tokens that count (n - 1 below; 0 for a single token), a scalar."""
    centred = values.astype(jnp.float32) - masked_mean(values, mask)
    return masked_sum(jnp.square(centred), mask) / jnp.maximum(_count(mask) - 1.0, 1.0)


def whiten(values: jax.Array, mask: jax.Array, *, shift_mean: bool) -> jax.Array:
    """Values with variance 1 and, if `shift_mean`, mean 0 over the tokens that count; 0 elsewhere.

    Equal values become 0 (or stay, without the shift), and so does a single token: no division by a variance of 0.
    """
    mean, variance = masked_mean(values, mask), masked_var(values, mask)
    whitened = (values.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + _EPSILON)
    # Rounding alone would otherwise be blown up by 1 / sqrt(epsilon).
    whitened = jnp.where(variance > _EPSILON, whitened, 0.0)
    if not shift_mean:
        whitened = whitened + mean
    return jnp.where(mask > 0, whitened, 0.0)


def _count(mask: jax.Array) -> jax.Array:
    return jnp.sum((mask > 0).astype(jnp.float32))
