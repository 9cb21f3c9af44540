"""Mean, variance and whitening over the tokens, or the responses, that count. In float32, whatever comes in.

`mask` has the shape of the values and is 1 where one counts. Where none does, the result is 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_EPSILON = 1e-8


def counted_rows(mask: jax.Array) -> jax.Array:
    """float32 [batch]: 1 for a response that counts, some token of it that is; of mask [batch, length].

    One that only fills the batch, whose score is not finite, or none of whose tokens counts is no response at all: it
    is in no mean, no deviation and no number of responses.
    """
    return (mask > 0).any(axis=1).astype(jnp.float32)


def masked_sum(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Sum over what counts, all of it or along an axis; what the rest holds (NaN even) does not matter."""
    values = jnp.where(mask > 0, values.astype(jnp.float32), 0.0)
    return jnp.sum(values, axis=axis)


def masked_mean(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Mean over what counts: a scalar, or along an axis."""
    return masked_sum(values, mask, axis) / jnp.maximum(_count(mask, axis), 1.0)


def masked_var(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Unbiased variance over what counts (n - 1 below; 0 of a single one): a scalar, or along an axis."""
    mean = masked_mean(values, mask, axis)
    mean = mean if axis is None else jnp.expand_dims(mean, axis)
    squares = masked_sum(jnp.square(values.astype(jnp.float32) - mean), mask, axis)
    return squares / jnp.maximum(_count(mask, axis) - 1.0, 1.0)


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


def _count(mask: jax.Array, axis: int | None = None) -> jax.Array:
    return jnp.sum((mask > 0).astype(jnp.float32), axis=axis)
