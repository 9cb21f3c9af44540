"""Responses that do not count (no prompt, no finite score, no token) are in no mean, no number and no update."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.rl.advantages import group_advantages
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.losses import Forward, Targets, ppo_loss
from t5x_lite.rl.step import Experience, init_ppo_state, make_ppo_step
from tests.rl.cases import arrays, settings

RATE = 0.1
FIXED = KLController("fixed", 1.0, 1.0)


# Groups


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [(False, [-1.5, 0.0, 1.5, 0.0]), (True, [-1 / (1 + 1e-4), 0.0, 1 / (1 + 1e-4), 0.0])],
    ids=["rloo", "grpo"],
)
def test_a_response_without_a_score_is_none_of_its_group(normalize, expected):
    """5, 6, 7 and one that could not be scored: over the three, mean 6, deviation 1."""
    rewards, mask = arrays([[0, 5], [0, 6], [0, 7], [0, 0]], [[1, 1]] * 3 + [[0, 0]])
    ours = group_advantages(rewards, mask, samples=4, normalize=normalize)
    np.testing.assert_allclose(ours, np.array(expected)[:, None] * mask, rtol=1e-6)


@pytest.mark.parametrize("normalize", [False, True], ids=["rloo", "grpo"])
def test_groups_of_unlike_sizes_against_a_slow_loop(normalize):
    rng = np.random.default_rng(0)
    rewards, counts = rng.normal(size=(12, 3)), rng.random(12) < 0.6
    counts[:4], counts[4:8] = False, [True, False, False, False]  # a group of none, and of one
    expected = np.zeros((12, 3))
    for start in range(0, 12, 4):
        group = [i for i in range(start, start + 4) if counts[i]]
        totals = [float(sum(rewards[i])) for i in group]
        if len(group) < 2:
            continue
        mean = sum(totals) / len(group)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in totals) / (len(group) - 1))
        for i, total in zip(group, totals, strict=True):
            others = (sum(totals) - total) / (len(group) - 1)
            expected[i] = (total - mean) / (deviation + 1e-4) if normalize else total - others
    mask = np.repeat(counts[:, None], 3, axis=1)
    ours = group_advantages(*arrays(rewards, mask), samples=4, normalize=normalize)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


# Whole steps


def forward(trainable, frozen, inputs, rng):
    """Each token has log-probability -1 + shift, an entropy of 1 nat and the value shift."""
    ones = jnp.ones_like(inputs["tokens"])
    return Forward(trainable["shift"] - ones, ones, trainable["shift"] * inputs["tokens"])


def experience_of(counts, rng=None, ref=-1.0):
    """Responses of three tokens; `counts` says which of them count."""
    rng, rows = np.random.default_rng(0), len(counts)
    shape = (rows, 3)
    mask = np.repeat(np.array(counts, np.float32)[:, None], 3, axis=1)
    tokens = rng.normal(size=shape)
    return Experience(
        {"tokens": jnp.asarray(tokens, jnp.float32)},
        *arrays(
            mask, np.full(shape, -1.0), np.full(shape, ref), 0.1 * tokens, rng.normal(size=rows)
        ),
    )


def take(experience, controller=FIXED, optimizer=None, state=None, **changes):
    optimizer = optimizer or optax.adam(RATE)
    step = make_ppo_step(
        forward, optimizer, optax.linear_schedule(RATE, 0.0, 100), settings(**changes), controller
    )
    if state is None:
        state = init_ppo_state({"shift": jnp.float32(0.3)}, optimizer, 0.2)
    return jax.jit(step)(state, {}, experience, jax.random.key(0))


def test_the_controller_goes_by_the_responses_that_count():
    """4 real ones of 16, 7 nats each, target 6: 0.2 * (1 + (7 / 6 - 1) * 4 / 100)."""
    experience = experience_of([1] * 4 + [0] * 12, ref=-1.0 - 7 / 3)
    controller = KLController("adaptive", 6.0, 100.0)
    state, _, _ = take(experience, controller, minibatch_size=16)
    assert math.isclose(state.kl_coef, 0.2 * (1 + (7 / 6 - 1) * 4 / 100), rel_tol=1e-6)
    nothing, _, _ = take(experience_of([0] * 16), controller, minibatch_size=16)
    assert math.isclose(nothing.kl_coef, 0.2, rel_tol=1e-6)


def test_minibatches_without_a_response_that_counts_are_none():
    """One real response of eight, two at a time, twice: two updates, those of this response alone."""
    experience = experience_of([0] * 5 + [1] + [0] * 2)
    optimizer = optax.adamw(RATE, weight_decay=0.5)
    state, statistics, _ = take(experience, optimizer=optimizer, minibatch_size=2, epochs=2)
    alone = jax.tree.map(lambda x: x[5:6], experience)
    expected, of_alone, _ = take(alone, optimizer=optimizer, minibatch_size=1, epochs=2)
    assert math.isclose(state.trainable["shift"], expected.trainable["shift"], rel_tol=1e-6)
    assert optax.tree_utils.tree_get(state.opt_state, "mu")["shift"] == pytest.approx(
        float(optax.tree_utils.tree_get(expected.opt_state, "mu")["shift"]), rel=1e-6
    )
    assert statistics["ppo/minibatches"] == 2
    assert statistics["ppo/policy/entropy"] == pytest.approx(1, rel=1e-6)  # nats
    for name, value in of_alone.items():
        if name != "ppo/learning_rate":
            assert statistics[name] == pytest.approx(float(value), rel=1e-5, abs=1e-6), name


def test_figures_are_means_over_tokens():
    """Three responses count, two of them (or one) in a minibatch; nothing moves, so order does not matter."""
    experience = experience_of([1, 1, 1, 0])
    _, statistics, details = take(experience, optimizer=optax.sgd(0.0), minibatch_size=2)
    returned = np.asarray(details["returns"])[:3]
    assert statistics["ppo/returns/mean"] == pytest.approx(returned.mean(), rel=1e-5)
    errors = (0.3 * np.asarray(experience.inputs["tokens"])[:3] - returned) ** 2
    assert statistics["ppo/val/error"] == pytest.approx(errors.mean(), rel=1e-5)


@pytest.mark.parametrize("whitening", ["none", "minibatch"])
def test_slices_of_a_minibatch_learn_what_the_whole_does(whitening):
    experience = experience_of([1, 1, 1, 0, 1, 1, 0, 0])
    changes = {
        "minibatch_size": 4, "epochs": 2, "whiten_advantages": whitening, "kl_penalty": "loss",
    }  # fmt: skip
    one, of_one, _ = take(experience, **changes)
    several, of_several, _ = take(experience, accumulation=2, **changes)
    assert math.isclose(one.trainable["shift"], several.trainable["shift"], rel_tol=1e-5)
    for name, value in of_one.items():
        assert of_several[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


# The learning rate


def test_the_schedule_goes_by_the_minibatches_that_there_are():
    """Two of the three steps change nothing (no response counts): the rate falls all the same, to the one used."""
    optimizer = optax.sgd(optax.linear_schedule(RATE, 0.0, 100))
    state = init_ppo_state({"shift": jnp.float32(0.3)}, optimizer, 0.2)
    empty, full = experience_of([0] * 4), experience_of([1] * 4)
    for number, experience in enumerate((empty, empty, full)):
        before = state
        state, statistics, _ = take(
            experience, optimizer=optimizer, state=state, minibatch_size=2, epochs=2
        )
        # Four minibatches a step.
        assert statistics["ppo/learning_rate"] == pytest.approx(RATE * (1 - 4 * number / 100))
    assert float(before.trainable["shift"]) == pytest.approx(0.3)
    one, statistics, _ = take(full, optimizer=optimizer, state=before, minibatch_size=4, epochs=1)
    moved = abs(float(one.trainable["shift"] - before.trainable["shift"]))
    rate = moved / float(statistics["ppo/grad_norm"])
    assert rate == pytest.approx(float(statistics["ppo/learning_rate"]), rel=1e-4)
    assert rate == pytest.approx(RATE * (1 - 2 / 100), rel=1e-4)


# What a pad holds


@pytest.mark.parametrize("penalty", ["loss", "reward"])
@pytest.mark.parametrize("pad", [-200.0, np.inf, np.nan])
def test_a_pad_reaches_no_gradient(penalty, pad):
    """exp of the distance of a pad is infinite, and infinite times 0 is no number."""
    mask = jnp.array([[1.0, 0.0]])
    zeros = jnp.zeros((1, 2))
    old = Targets(zeros, jnp.array([[-1.0, 0.0]]), zeros, jnp.ones((1, 2)), zeros, mask)

    def loss(shift):
        moved = jnp.array([[-1.0, pad]]) + shift
        new = Forward(moved, zeros, moved)
        return ppo_loss(new, old, settings(kl_penalty=penalty), jnp.float32(0.2))[0]

    value, slope = jax.value_and_grad(loss)(jnp.float32(0.5))
    assert np.isfinite(value) and np.isfinite(slope) and slope != 0
