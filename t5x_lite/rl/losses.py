"""The clipped losses of PPO, and what is measured beside them. Float32 scalars over all tokens that count.

Source: Schulman et al. 2017 (arXiv:1707.06347); the clipped value loss and the names are those of TRL.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite.rl.kl import k3
from t5x_lite.rl.masked import masked_mean, masked_var, whiten
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
    mask, has_critic = old.mask, settings.advantage == "gae"
    advantages = jax.lax.stop_gradient(old.advantages)
    if settings.whiten_advantages == "minibatch":
        advantages = whiten(advantages, mask, shift_mean=True)
    log_ratio = jnp.where(mask > 0, new.logprobs - old.logprobs, 0.0)
    ratio = jnp.exp(log_ratio)
    unclipped = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1 - settings.cliprange, 1 + settings.cliprange)
    policy = masked_mean(jnp.maximum(unclipped, clipped), mask)

    near = jnp.clip(
        new.values, old.values - settings.cliprange_value, old.values + settings.cliprange_value
    )
    errors, near_errors = jnp.square(new.values - old.returns), jnp.square(near - old.returns)
    value = 0.5 * masked_mean(jnp.maximum(errors, near_errors), mask)
    entropy = masked_mean(new.entropies, mask)
    total = policy - settings.entropy_coef * entropy
    if has_critic:
        total = total + settings.vf_coef * value
    if settings.kl_penalty == "loss":
        total = total + kl_coef * masked_mean(k3(new.logprobs, old.ref_logprobs), mask)
    statistics = {
        "ppo/loss/policy": policy,
        "ppo/loss/value": value,
        "ppo/loss/total": total,
        "ppo/policy/entropy": entropy,
        "ppo/policy/approxkl": 0.5 * masked_mean(jnp.square(log_ratio), mask),
        "ppo/policy/policykl": masked_mean(-log_ratio, mask),
        "ppo/policy/clipfrac": masked_mean(clipped > unclipped, mask),
        "ppo/policy/advantages_mean": masked_mean(advantages, mask),
        "ppo/policy/ratio": masked_mean(ratio, mask),
        "ppo/returns/mean": masked_mean(old.returns, mask),
        "ppo/returns/var": masked_var(old.returns, mask),
        "ppo/val/vpred": masked_mean(new.values, mask),
        "ppo/val/error": masked_mean(errors, mask),
        "ppo/val/clipfrac": masked_mean(near_errors > errors, mask),
        "ppo/val/mean": masked_mean(old.values, mask),
        "ppo/val/var": masked_var(old.values, mask),
    }
    return total, statistics
