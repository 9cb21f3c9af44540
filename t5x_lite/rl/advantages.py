"""From one score a response to a reward, a return and an advantage for every token. Float32 throughout.

Sources: Schulman et al. 2016 (arXiv:1506.02438), GAE; Ahmadian et al. 2024 (arXiv:2402.14740), RLOO; Shao et al. 2024
(arXiv:2402.03300), GRPO.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t5x_lite.rl.masked import counted_rows, masked_mean, masked_sum, masked_var

_EPSILON = 1e-4  # GRPO's, below its standard deviation


def token_rewards(
    scores: jax.Array, kl: jax.Array, mask: jax.Array, kl_coef: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The penalty at every token, and the score on the last one that counts.

    Args:
      scores: [batch], one a response.
      kl: [batch, length], an estimate a token (k1).
      mask: [batch, length], 1 where a response token counts. A row of zeros gets no reward.
      kl_coef: scalar; 0 where the penalty is a loss term.

    Returns:
      float32 [batch, length] each: the rewards, and the part of them that is no score.
    """
    mask = mask.astype(jnp.float32)
    non_score = jnp.where(mask > 0, -kl_coef * kl.astype(jnp.float32), 0.0)
    behind = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] - mask
    is_last = (mask > 0) & (behind == 0)
    return non_score + jnp.where(is_last, scores.astype(jnp.float32)[:, None], 0.0), non_score


def gae(
    rewards: jax.Array, values: jax.Array, mask: jax.Array, *, gamma: float, lam: float
) -> tuple[jax.Array, jax.Array]:
    """Generalized advantage estimation, backwards over the tokens.

    delta[t] = reward[t] + gamma * value[t + 1] - value[t];  advantage[t] = delta[t] + gamma * lam * advantage[t + 1]

    Args:
      rewards, values, mask: [batch, length]. Values count as 0 where the mask is 0, and behind the last token.

    Returns:
      advantages and returns = advantages + values, float32 [batch, length], 0 where the mask is 0.
    """
    mask = mask.astype(jnp.float32)
    rewards = jnp.where(mask > 0, rewards.astype(jnp.float32), 0.0)
    values = jnp.where(mask > 0, values.astype(jnp.float32), 0.0)
    following = jnp.pad(values[:, 1:], ((0, 0), (0, 1)))
    deltas = rewards + gamma * following - values

    def back(advantage: jax.Array, delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        advantage = delta + gamma * lam * advantage
        return advantage, advantage

    start = jnp.zeros(rewards.shape[0], jnp.float32)
    _, advantages = jax.lax.scan(back, start, deltas.T, reverse=True)
    advantages = jnp.where(mask > 0, advantages.T, 0.0)
    return advantages, advantages + values


def group_advantages(
    rewards: jax.Array, mask: jax.Array, *, samples: int, normalize: bool
) -> jax.Array:
    """Without a critic: a response's total reward against that of the other responses to its prompt.

    Args:
      rewards: [batch, length]; rows of one prompt side by side, `samples` of them.
      mask: [batch, length]. A response without a token that counts is none of its group: not in its mean, its
        deviation or its number. One that is alone gets 0.
      normalize: False is RLOO (minus the mean of the others); True is GRPO (minus the mean, over the standard
        deviation, of all of them).

    Returns:
      float32 [batch, length]: the same advantage at every token of a response, 0 where the mask is 0.

    >>> scores, mask = jnp.array([[5.0], [6.0], [7.0], [jnp.nan]]), jnp.array([[1], [1], [1], [0]])
    >>> group_advantages(scores, mask, samples=4, normalize=False)[:, 0].tolist()
    [-1.5, 0.0, 1.5, 0.0]
    """
    totals = masked_sum(rewards, mask, axis=1).reshape(-1, samples)
    counts = counted_rows(mask).reshape(-1, samples)
    advantages = totals - masked_mean(totals, counts, axis=1)[:, None]
    if normalize:
        deviation = jnp.sqrt(masked_var(totals, counts, axis=1))
        advantages = advantages / (deviation[:, None] + _EPSILON)
    else:
        # r - (sum - r) / (n - 1) = (r - mean) * n / (n - 1)
        n = counts.sum(axis=1, keepdims=True)
        advantages = advantages * (n / jnp.maximum(n - 1, 1))
    return jnp.where(mask > 0, advantages.reshape(-1)[:, None], 0.0)
