"""PPO's losses and their statistics against slow loops over lists; settings that contradict."""

import math

import jax.numpy as jnp
import pytest

from t5x_lite.errors import InputError
from t5x_lite.rl.losses import Forward, Targets, ppo_loss
from tests.rl.cases import (
    LENGTH,
    Case,
    arrays,
    every_mask,
    settings,
    slow_gae,
    slow_mean,
    slow_rewards,
    slow_var,
    slow_whiten,
)


@every_mask
@pytest.mark.parametrize("whitening", ["none", "minibatch"])
def test_losses_and_their_statistics(name, whitening):
    case = Case(name)
    rewards, _ = slow_rewards(case, 0.2)
    advantages, returns = slow_gae(rewards, case, 1.0, 0.95)
    used = slow_whiten(advantages, case.mask, True) if whitening == "minibatch" else advantages
    cells = [(r, t) for r in range(case.rows) for t in range(LENGTH) if case.mask[r][t]]

    def mean(function):
        return sum(function(r, t) for r, t in cells) / len(cells) if cells else 0.0

    def ratio(r, t):
        return math.exp(case.new[r][t] - case.logprobs[r][t])

    def policy_losses(r, t):
        clipped = min(max(ratio(r, t), 0.8), 1.2)
        return -used[r][t] * ratio(r, t), -used[r][t] * clipped

    def value_losses(r, t):
        old, new = case.values[r][t], case.new_values[r][t]
        near = min(max(new, old - 0.2), old + 0.2)
        return (new - returns[r][t]) ** 2, (near - returns[r][t]) ** 2

    def k3_of(r, t):
        log_ratio = case.ref[r][t] - case.new[r][t]
        return math.exp(log_ratio) - 1 - log_ratio

    policy = mean(lambda r, t: max(policy_losses(r, t)))
    value = 0.5 * mean(lambda r, t: max(value_losses(r, t)))
    entropy = mean(lambda r, t: case.entropies[r][t])
    expected = {
        "ppo/loss/policy": policy,
        "ppo/loss/value": value,
        "ppo/loss/total": policy + 0.1 * value - 0.03 * entropy + 0.2 * mean(k3_of),
        "ppo/policy/entropy": entropy,
        "ppo/policy/approxkl": mean(lambda r, t: 0.5 * (case.new[r][t] - case.logprobs[r][t]) ** 2),
        "ppo/policy/policykl": mean(lambda r, t: case.logprobs[r][t] - case.new[r][t]),
        "ppo/policy/clipfrac": mean(lambda r, t: policy_losses(r, t)[1] > policy_losses(r, t)[0]),
        "ppo/policy/advantages_mean": mean(lambda r, t: used[r][t]),
        "ppo/policy/ratio": mean(ratio),
        "ppo/returns/mean": slow_mean(returns, case.mask),
        "ppo/returns/var": slow_var(returns, case.mask),
        "ppo/val/vpred": slow_mean(case.new_values, case.mask),
        "ppo/val/error": mean(lambda r, t: value_losses(r, t)[0]),
        "ppo/val/clipfrac": mean(lambda r, t: value_losses(r, t)[1] > value_losses(r, t)[0]),
        "ppo/val/mean": slow_mean(case.values, case.mask),
        "ppo/val/var": slow_var(case.values, case.mask),
    }
    new = Forward(*arrays(case.new, case.entropies, case.new_values))
    old = Targets(*arrays(case.logprobs, case.ref, case.values, advantages, returns, case.mask))
    total, statistics = ppo_loss(
        new,
        old,
        settings(entropy_coef=0.03, kl_penalty="loss", whiten_advantages=whitening),
        jnp.float32(0.2),
    )
    assert set(statistics) == set(expected)
    for key, wanted in expected.items():
        assert math.isclose(statistics[key], wanted, rel_tol=1e-4, abs_tol=2e-5), key
    assert float(total) == float(statistics["ppo/loss/total"])


def test_contradicting_settings_are_refused():
    with pytest.raises(InputError, match="samples_per_prompt = 1: rloo"):
        settings(advantage="rloo")
    with pytest.raises(InputError, match="ppo.kl_penalty must be one of"):
        settings(kl_penalty="k2")
