"""What a whole PPO step logs beyond its losses, against slow loops: explained variance, rate, gradient, controller."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.rl.kl import KLController
from t5x_lite.rl.losses import Forward
from t5x_lite.rl.step import Experience, init_ppo_state, make_ppo_step
from tests.rl.cases import (
    EQUAL,
    LENGTH,
    Case,
    arrays,
    settings,
    slow_gae,
    slow_mean,
    slow_rewards,
    slow_var,
)

COEFFICIENT, VF_COEF, TARGET, HORIZON = 0.2, 0.1, 2.0, 50.0


def value_slope(new, old, returned):
    """Of 0.5 max((new - R)^2, (near - R)^2) by the new value: a value that is clipped, and counts so, does not move."""
    near = min(max(new, old - 0.2), old + 0.2)
    if (new - returned) ** 2 >= (near - returned) ** 2:
        return new - returned
    return (near - returned) if near == new else 0.0


@pytest.mark.parametrize("name", ["ragged", "length 1 alone", "first token masked", EQUAL])
def test_a_step_of_one_minibatch(name):
    """The policy is the case's; what is trained is one number that is added to its values."""
    case = Case(name)
    rewards, _ = slow_rewards(case, COEFFICIENT)
    advantages, returns = slow_gae(rewards, case, 1.0, 0.95)
    cells = [(r, t) for r in range(case.rows) for t in range(LENGTH) if case.mask[r][t]]
    error = sum((case.new_values[r][t] - returns[r][t]) ** 2 for r, t in cells) / len(cells)
    slope = sum(
        value_slope(case.new_values[r][t], case.values[r][t], returns[r][t]) for r, t in cells
    ) / len(cells)
    responses = sum(any(line) for line in case.mask)  # one without a token that counts is none
    kl = sum(case.logprobs[r][t] - case.ref[r][t] for r, t in cells) / responses
    near = min(max(kl / TARGET - 1, -0.2), 0.2)

    def forward(trainable, frozen, inputs, rng):
        rows = inputs["rows"]
        new, entropies, values = (
            jnp.asarray(x, jnp.float32)[rows] for x in (case.new, case.entropies, case.new_values)
        )
        return Forward(new, entropies, values + trainable["shift"])

    optimizer, schedule = optax.sgd(0.5), optax.linear_schedule(0.5, 0.0, 10)
    step = make_ppo_step(
        forward, optimizer, schedule, settings(minibatch_size=case.rows, vf_coef=VF_COEF),
        KLController("adaptive", TARGET, HORIZON),
    )  # fmt: skip
    state = init_ppo_state({"shift": jnp.zeros(())}, optimizer, COEFFICIENT)
    mask, logprobs, ref, values, scores = arrays(
        case.mask, case.logprobs, case.ref, case.values, case.scores
    )
    experience = Experience({"rows": jnp.arange(case.rows)}, mask, logprobs, ref, values, scores)
    new, statistics, details = jax.jit(step)(state, {}, experience, jax.random.key(0))
    expected = {
        "ppo/val/error": error,
        "ppo/val/var_explained": 1 - error / max(slow_var(returns, case.mask), 1e-8),
        "ppo/returns/mean": slow_mean(returns, case.mask),
        "ppo/policy/advantages_mean": slow_mean(advantages, case.mask),
        "ppo/learning_rate": 0.5,
        "ppo/grad_norm": VF_COEF * abs(slope),
        "ppo/minibatches": 1,
        "ppo/skipped": 0,
        "ppo/early_stop": 0,
    }
    for key, wanted in expected.items():
        assert math.isclose(statistics[key], wanted, rel_tol=2e-4, abs_tol=2e-5), key
    np.testing.assert_allclose(details["advantages"], advantages, atol=1e-5)
    assert math.isclose(new.trainable["shift"], -0.5 * VF_COEF * slope, rel_tol=1e-4, abs_tol=1e-6)
    wanted = COEFFICIENT * (1 + near * responses / HORIZON)
    assert math.isclose(new.kl_coef, wanted, rel_tol=1e-5)
