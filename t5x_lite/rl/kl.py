"""How far the policy is from the reference: estimators a token, and what holds the distance near a target.

Sources: Schulman 2020, "Approximating KL divergence" (k1, k3); Ziegler et al. 2019 (arXiv:1909.08593), the controller.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

# The controller changes its coefficient by at most this share of n / horizon.
_LARGEST_ERROR = 0.2


def k1(logprobs: jax.Array, ref_logprobs: jax.Array) -> jax.Array:
    """log p - log q of tokens drawn from p: unbiased, of either sign. In the reward, this is the one to take."""
    return logprobs.astype(jnp.float32) - ref_logprobs.astype(jnp.float32)


def k3(logprobs: jax.Array, ref_logprobs: jax.Array) -> jax.Array:
    """q/p - 1 - log(q/p): unbiased and never negative. As a loss term; in the reward its gradient is biased.

    As a loss, over tokens drawn from p, its gradient is that of KL(q || p), not of KL(p || q): it leads to
    p(a) = beta * q(a) / (constant - r(a)) in place of the Gibbs policy, and punishes what p no longer says.
    """
    log_ratio = -k1(logprobs, ref_logprobs)
    return jnp.expm1(log_ratio) - log_ratio


@dataclasses.dataclass(frozen=True)
class KLController:
    """What the KL coefficient does from step to step.

    kind: "fixed" keeps it; "adaptive" multiplies it by 1 + clip(kl / target - 1, -0.2, 0.2) * n / horizon, n being
      the sequences of the step.
    target: nats a sequence. horizon: sequences.

    >>> controller = KLController("adaptive", target=6.0, horizon=10_000.0)
    >>> round(float(controller.next(jnp.float32(0.2), jnp.float32(30.0), 16)), 6)
    0.200064
    """

    kind: str
    target: float
    horizon: float

    def next(
        self, coefficient: jax.Array, kl: jax.Array, sequences: jax.typing.ArrayLike
    ) -> jax.Array:
        """The coefficient of the next step, after a step of `sequences` with a mean of `kl` nats each."""
        if self.kind == "fixed":
            return coefficient
        error = jnp.clip(kl / self.target - 1.0, -_LARGEST_ERROR, _LARGEST_ERROR)
        changed = coefficient * (1.0 + error * sequences / self.horizon)
        return jnp.where(jnp.isfinite(kl), changed, coefficient)
