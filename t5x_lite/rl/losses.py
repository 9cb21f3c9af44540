"""The clipped losses of PPO, and what is measured beside them. Float32 scalars over all tokens that count.

Source: Schulman et al. 2017 (arXiv:1707.06347); the clipped value loss and the names are those of TRL.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite.rl.kl import k3
from t5x_lite.rl.masked import masked_sum, masked_var, whiten
from t5x_lite.rl.sections import PPOSettings


class Forward(NamedTuple):
    """What the policy says of responses: [batch, length] each, float32."""

    logprobs: jax.Array  # of the response tokens, unprocessed
    entropies: jax.Array  # of the distribution each token was drawn from, nats
    values: jax.Array


class Targets(NamedTuple):
    """What the losses compare with: [batch, length] each, float32, fixed during the epochs."""

    logprobs: jax.Array  # of the policy that wrote the responses
    ref_logprobs: jax.Array
    values: jax.Array
    advantages: jax.Array
    returns: jax.Array
    mask: jax.Array


def ppo_loss(
    new: Forward, old: Targets, settings: PPOSettings, kl_coef: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of a minibatch, and its statistics under the keys of docs/architecture.md.

    policy: mean of max(-A r, -A clip(r, 1 - cliprange, 1 + cliprange)), r = exp(new - old log-probability)
    value: 0.5 * mean of max((v - R)^2, (clip(v, v_old - cliprange_value, v_old + cliprange_value) - R)^2)
    total: policy + vf_coef * value - entropy_coef * entropy (+ kl_coef * k3, where the penalty is a loss)
    """
    old = prepared(old, settings)
    total, statistics = slice_loss(new, old, settings, kl_coef, counted_tokens(old.mask))
    return total, statistics | variances(old)


def prepared(old: Targets, settings: PPOSettings) -> Targets:
    """What is computed over a whole minibatch before it is read in slices: advantages whitened over it."""
    advantages = jax.lax.stop_gradient(old.advantages)
    if settings.whiten_advantages == "minibatch":
        advantages = whiten(advantages, old.mask, shift_mean=True)
    return old._replace(advantages=advantages)


def counted_tokens(mask: jax.Array) -> jax.Array:
    """How many tokens count, at least 1: float32."""
    return jnp.maximum(jnp.sum((mask > 0).astype(jnp.float32)), 1.0)


def slice_loss(
    new: Forward, old: Targets, settings: PPOSettings, kl_coef: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`ppo_loss` of a slice of a minibatch: its share of each mean, which add up to the minibatch's.

    old: `prepared`. tokens: the `counted_tokens` of the minibatch.
    """
    mask = old.mask
    # Before anything is exponentiated or squared: what a pad holds must not reach a gradient (inf * 0 is NaN).
    new = Forward(*(jnp.where(mask > 0, values, 0.0) for values in new))
    old = Targets(*(jnp.where(mask > 0, values, 0.0) for values in old))

    def mean(values: jax.Array) -> jax.Array:
        return masked_sum(values, mask) / tokens

    advantages = old.advantages
    log_ratio = new.logprobs - old.logprobs
    ratio = jnp.exp(log_ratio)
    unclipped = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1 - settings.cliprange, 1 + settings.cliprange)
    policy = mean(jnp.maximum(unclipped, clipped))

    near = jnp.clip(
        new.values, old.values - settings.cliprange_value, old.values + settings.cliprange_value
    )
    errors, near_errors = jnp.square(new.values - old.returns), jnp.square(near - old.returns)
    value = 0.5 * mean(jnp.maximum(errors, near_errors))
    entropy = mean(new.entropies)
    total = policy - settings.entropy_coef * entropy
    if settings.advantage == "gae":
        total = total + settings.vf_coef * value
    if settings.kl_penalty == "loss":
        total = total + kl_coef * mean(k3(new.logprobs, old.ref_logprobs))
    return total, {
        "ppo/loss/policy": policy,
        "ppo/loss/value": value,
        "ppo/loss/total": total,
        "ppo/policy/entropy": entropy,
        "ppo/policy/approxkl": 0.5 * mean(jnp.square(log_ratio)),
        "ppo/policy/policykl": mean(-log_ratio),
        "ppo/policy/clipfrac": mean(clipped > unclipped),
        "ppo/policy/advantages_mean": mean(advantages),
        "ppo/policy/ratio": mean(ratio),
        "ppo/returns/mean": mean(old.returns),
        "ppo/val/vpred": mean(new.values),
        "ppo/val/error": mean(errors),
        "ppo/val/clipfrac": mean(near_errors > errors),
        "ppo/val/mean": mean(old.values),
    }


def variances(old: Targets) -> dict[str, jax.Array]:
    """Of returns and values, over the tokens of a minibatch that count."""
    return {
        "ppo/returns/var": masked_var(old.returns, old.mask),
        "ppo/val/var": masked_var(old.values, old.mask),
    }
