"""PPO on tasks whose best policy is known: it gets there from several seeds."""

import jax
import numpy as np
import pytest

GOOD = (4, 7, 9)


def fraction_of_good_tokens(rows, responses):
    return np.array([np.isin(tokens, GOOD).mean() for tokens in responses], np.float32)


QUICK = ("reward",)  # the case that is no slow test, with seed 0


def several(*cases):
    """Each case with seeds 0, 1 and 2."""
    return [
        pytest.param(*case, seed, marks=[] if (case, seed) == (QUICK, 0) else pytest.mark.slow)
        for case in cases
        for seed in (0, 1, 2)
    ]


@pytest.mark.parametrize(
    ("advantage", "samples", "seed"), several(("gae", 1), ("rloo", 4), ("grpo", 4))
)
def test_tokens_from_a_set(ppo_run, advantage, samples, seed):
    """At first a quarter of the tokens is good; the best policy writes good ones alone (a score of 1)."""
    changes = {"advantage": advantage, "samples_per_prompt": samples}
    _, kept = ppo_run(fraction_of_good_tokens, seed=seed, steps=40, changes=changes).train()
    scores = [metrics["ppo/mean_scores"] for metrics in kept.metrics]
    assert scores[0] < 0.5
    assert np.mean(scores[-3:]) > 0.97


def gibbs(reference, reward, beta):
    """The best policy under beta * KL(policy || reference), which k1 in the reward penalizes."""
    policy = reference * np.exp(reward / beta)
    return policy / policy.sum()


def forward_optimum(reference, reward, beta):
    """The best policy under beta * KL(reference || policy), whose gradient k3 as a loss has.

    r(a) + beta * reference(a) / p(a) is one constant L over all a, so p(a) = beta * reference(a) / (L - r(a)); L by
    bisection, so that p sums to 1.
    """
    low, high = reward.max() + 1e-9, reward.max() + beta + 1e-9
    for _ in range(200):
        middle = (low + high) / 2
        total = np.sum(beta * reference / (middle - reward))
        low, high = (middle, high) if total > 1 else (low, middle)
    return beta * reference / (middle - reward)


@pytest.mark.parametrize(("penalty", "seed"), several(("reward",), ("loss",)))
def test_a_bandit_under_the_kl_penalty_finds_the_policy_in_closed_form(ppo_run, penalty, seed):
    """One token, reward r(a): p(a) ~ reference(a) * exp(r(a) / beta), the Gibbs policy, where k1 is in the reward.

    Within 0.03 of total variation (half the L1 distance); the reference itself is over 0.1 away.
    """
    beta = 0.5
    reward = np.random.default_rng(7).uniform(0, 1, 12).astype(np.float32)
    run = ppo_run(
        lambda rows, responses: np.array([reward[tokens[0]] for tokens in responses]),
        seed=seed,
        length=1,
        rows=512,
        steps=60,
        kl_coef=beta,
        learning_rate=2e-3,
        changes={"whiten_advantages": "none", "minibatch_size": 128, "kl_penalty": penalty},
    )
    distribution = jax.jit(
        lambda params: jax.nn.softmax(
            run.model.apply(
                {"params": params}, np.array([[5, 1, 0]], np.int32), np.zeros((1, 1), np.int32)
            )[0, 0]
        )
    )
    reference = np.asarray(distribution(run.params))
    optimum = (gibbs if penalty == "reward" else forward_optimum)(reference, reward, beta)
    assert optimum.sum() == pytest.approx(1, abs=1e-5)
    state, kept = run.train()
    found = np.asarray(distribution(state.trainable["policy"]))
    assert np.abs(reference - optimum).sum() / 2 > 0.1
    assert np.abs(found - optimum).sum() / 2 < 0.03
    kl = float(np.sum(optimum * np.log(optimum / reference)))
    assert abs(np.mean([m["objective/kl"] for m in kept.metrics[-10:]]) - kl) < 0.05
