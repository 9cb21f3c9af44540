"""PPO on tasks whose best policy is known: it gets there from several seeds."""

import jax
import numpy as np
import pytest

GOOD = (4, 7, 9)


def fraction_of_good_tokens(rows, responses):
    return np.array([np.isin(tokens, GOOD).mean() for tokens in responses], np.float32)


def several(*cases):
    """Each case with seeds 0, 1 and 2; all but the first one of all are slow."""
    return [
        pytest.param(*case, seed, marks=[] if (case, seed) == (cases[0], 0) else pytest.mark.slow)
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


@pytest.mark.parametrize(("penalty", "seed"), several(("reward",), ("loss",)))
def test_a_bandit_under_the_kl_penalty_finds_the_gibbs_policy(ppo_run, penalty, seed):
    """One token, reward r(a), penalty beta * KL: the optimum is p(a) ~ reference(a) * exp(r(a) / beta) in closed form.

    Within 0.03 of total variation (half the L1 distance); the reference itself is over 0.15 away.
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
    gibbs = reference * np.exp(reward / beta)
    gibbs /= gibbs.sum()
    state, kept = run.train()
    found = np.asarray(distribution(state.trainable["policy"]))
    assert np.abs(reference - gibbs).sum() / 2 > 0.15
    assert np.abs(found - gibbs).sum() / 2 < 0.03
    # At the optimum KL = sum p log(p / reference).
    optimal = float(np.sum(gibbs * np.log(gibbs / reference)))
    assert abs(np.mean([m["objective/kl"] for m in kept.metrics[-10:]]) - optimal) < 0.05
