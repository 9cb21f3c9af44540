"""Rewards a token, advantages and returns against slow loops over lists; groups; cases by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.rl.advantages import gae, group_advantages, token_rewards
from t5x_lite.rl.kl import k1
from t5x_lite.rl.losses import Forward, Targets, ppo_loss
from t5x_lite.rl.masked import masked_mean, masked_var, whiten
from tests.rl.cases import (
    Case,
    arrays,
    every_mask,
    settings,
    slow_gae,
    slow_rewards,
)


@every_mask
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 1.0), (0.99, 0.0)])
def test_rewards_advantages_and_returns(name, gamma, lam):
    case = Case(name)
    rewards, non_score = slow_rewards(case, 0.2)
    expected, expected_returns = slow_gae(rewards, case, gamma, lam)
    logprobs, ref, mask, scores, values = arrays(
        case.logprobs, case.ref, case.mask, case.scores, case.values
    )
    ours, ours_non_score = token_rewards(scores, k1(logprobs, ref), mask, jnp.float32(0.2))
    np.testing.assert_allclose(ours, rewards, atol=1e-5)
    np.testing.assert_allclose(ours_non_score, non_score, atol=1e-5)
    advantages, returns = gae(ours, values, mask, gamma=gamma, lam=lam)
    np.testing.assert_allclose(advantages, expected, atol=2e-5)
    np.testing.assert_allclose(returns, expected_returns, atol=2e-5)
    assert advantages.dtype == returns.dtype == jnp.float32


def test_by_hand():
    """Two tokens, gamma 1, lam 0.5. Rewards -0.1 (coefficient 0.1, one nat) and 2 - 0; values 0.5 and 1.

    delta 1 = 2 - 1 = 1, delta 0 = -0.1 + 1 - 0.5 = 0.4; advantages 1 and 0.4 + 0.5 = 0.9; returns 2 and 1.4.
    """
    mask = jnp.ones((1, 2))
    kl = jnp.array([[1.0, 0.0]])
    rewards, _ = token_rewards(jnp.array([2.0]), kl, mask, jnp.float32(0.1))
    np.testing.assert_allclose(rewards, [[-0.1, 2.0]], rtol=1e-6)
    advantages, returns = gae(rewards, jnp.array([[0.5, 1.0]]), mask, gamma=1.0, lam=0.5)
    np.testing.assert_allclose(advantages, [[0.9, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(returns, [[1.4, 2.0]], rtol=1e-6)
    # Whitened: mean 0.95, variance 0.005 (n - 1), so -+ 0.05 / sqrt(0.005) = -+ 0.7071.
    np.testing.assert_allclose(
        whiten(advantages, mask, shift_mean=True), [[-0.70711, 0.70711]], rtol=1e-3
    )
    # A ratio of 1.5 with advantage 1 is clipped to 1.2; with advantage -1 it is not.
    new = Forward(jnp.log(jnp.array([[1.5, 1.5]])), jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    zeros = jnp.zeros((1, 2))
    old = Targets(zeros, zeros, zeros, jnp.array([[1.0, -1.0]]), zeros, mask)
    _, statistics = ppo_loss(new, old, settings(), jnp.float32(0.0))
    assert math.isclose(statistics["ppo/loss/policy"], (-1.2 + 1.5) / 2, rel_tol=1e-6)
    assert statistics["ppo/policy/clipfrac"] == 0.5


def test_integer_mask_and_bfloat16_stay_float32():
    """A mask of whole numbers must not make the scores whole."""
    mask = jnp.array([[1, 1, 0]])
    rewards, _ = token_rewards(
        jnp.array([0.75], jnp.bfloat16), jnp.zeros((1, 3), jnp.bfloat16), mask, jnp.float32(0.1)
    )
    np.testing.assert_array_equal(rewards, [[0, 0.75, 0]])
    advantages, _ = gae(rewards, jnp.zeros((1, 3), jnp.bfloat16), mask, gamma=1.0, lam=1.0)
    np.testing.assert_array_equal(advantages, [[0.75, 0.75, 0]])


def test_what_the_mask_hides_does_not_matter():
    nan = jnp.array([[1.0, jnp.nan]])
    mask = jnp.array([[1.0, 0.0]])
    assert masked_mean(nan, mask) == 1.0 and masked_var(nan, mask) == 0.0
    rewards, _ = token_rewards(jnp.array([2.0]), nan, mask, jnp.float32(0.5))
    advantages, returns = gae(rewards, nan, mask, gamma=1.0, lam=0.9)
    np.testing.assert_array_equal(advantages, [[0.5, 0.0]])
    np.testing.assert_array_equal(returns, [[1.5, 0.0]])


@pytest.mark.parametrize("samples", [2, 4])
def test_group_advantages(samples):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(8, 3))
    mask = np.array([[1, 1, 1], [1, 0, 0]] * 4, float)
    totals = [sum(r * m for r, m in zip(*x, strict=True)) for x in zip(rewards, mask, strict=True)]
    rloo, grpo = [], []
    for start in range(0, 8, samples):
        group = totals[start : start + samples]
        mean = sum(group) / samples
        std = math.sqrt(sum((x - mean) ** 2 for x in group) / (samples - 1))
        for x in group:
            rloo.append(x - (sum(group) - x) / (samples - 1))
            grpo.append((x - mean) / (std + 1e-4))
    for normalize, expected in ((False, rloo), (True, grpo)):
        ours = group_advantages(*arrays(rewards, mask), samples=samples, normalize=normalize)
        np.testing.assert_allclose(ours, np.array(expected)[:, None] * mask, rtol=1e-4, atol=1e-6)
    same = group_advantages(jnp.ones((4, 3)), jnp.ones((4, 3)), samples=2, normalize=True)
    np.testing.assert_array_equal(same, np.zeros((4, 3)))
