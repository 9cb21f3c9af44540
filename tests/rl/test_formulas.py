"""Advantages, losses, controller and statistics against slow loops over lists, written from LABS.md's formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.rl.advantages import gae, group_advantages, token_rewards
from t5x_lite.rl.kl import KLController, k1, k3
from t5x_lite.rl.logprobs import token_logprobs
from t5x_lite.rl.losses import Forward, PPOSettings, Targets, ppo_loss
from t5x_lite.rl.masked import masked_mean, masked_var, whiten
from t5x_lite.rl.scores import ScoreSettings, shape_scores, usable_scores
from t5x_lite.rl.statistics import rollout_statistics

LENGTH = 7
# Counted tokens of each row: (first, behind the last). A first of 1 is the labs' masked first token.
MASKS = {
    "all": [(0, 7)] * 4,
    "ragged": [(0, 3), (0, 7), (0, 1), (0, 5)],
    "length 1 alone": [(0, 1)],
    "eos first": [(0, 1), (0, 1), (0, 6)],
    "first token masked": [(1, 4), (1, 7), (1, 1), (1, 2)],
    "nothing counts": [(0, 0), (0, 0)],
    "one row": [(0, 4)],
}
EQUAL = "all equal rewards"
every_mask = pytest.mark.parametrize("name", [*MASKS, EQUAL])


class Case:
    def __init__(self, name):
        spans = MASKS.get(name, MASKS["ragged"])
        self.rows = len(spans)
        rng = np.random.default_rng(len(name))
        self.mask = [[float(a <= t < b) for t in range(LENGTH)] for a, b in spans]
        shape = (self.rows, LENGTH)

        def draw():
            return rng.normal(size=shape).round(3)

        self.logprobs, self.ref = -np.abs(draw()), -np.abs(draw())
        self.new = self.logprobs + 0.3 * draw()
        self.values, self.new_values, self.entropies = draw(), draw(), np.abs(draw())
        self.scores = np.full(self.rows, 1.5) if name == EQUAL else 3 * rng.normal(size=self.rows)
        if name == EQUAL:
            self.ref, self.values = self.logprobs.copy(), np.zeros(shape)


def arrays(*lists):
    return [jnp.asarray(x, jnp.float32) for x in lists]


# ---- the slow side: lists, loops, Python floats -------------------------------------------------


def slow_rewards(case, coef):
    rewards, non_score = [], []
    for row in range(case.rows):
        penalty = [
            -coef * (case.logprobs[row][t] - case.ref[row][t]) if case.mask[row][t] else 0.0
            for t in range(LENGTH)
        ]
        line = list(penalty)
        counted = [t for t in range(LENGTH) if case.mask[row][t]]
        if counted:
            line[counted[-1]] += case.scores[row]
        rewards.append(line)
        non_score.append(penalty)
    return rewards, non_score


def slow_gae(rewards, case, gamma, lam):
    advantages, returns = [], []
    for row in range(case.rows):
        value = [case.values[row][t] * case.mask[row][t] for t in range(LENGTH)]
        line, last = [0.0] * LENGTH, 0.0
        for t in reversed(range(LENGTH)):
            following = value[t + 1] if t + 1 < LENGTH else 0.0
            last = rewards[row][t] + gamma * following - value[t] + gamma * lam * last
            line[t] = last
        line = [a * m for a, m in zip(line, case.mask[row], strict=True)]
        advantages.append(line)
        returns.append([a + v for a, v in zip(line, value, strict=True)])
    return advantages, returns


def slow_counted(table, mask):
    return [
        x
        for line, marks in zip(table, mask, strict=True)
        for x, m in zip(line, marks, strict=True)
        if m
    ]


def slow_mean(table, mask):
    values = slow_counted(table, mask)
    return sum(values) / len(values) if values else 0.0


def slow_var(table, mask):
    values = slow_counted(table, mask)
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return sum((x - mean) ** 2 for x in values) / (len(values) - 1)


def slow_whiten(table, mask, shift):
    mean, var = slow_mean(table, mask), slow_var(table, mask)
    scale = 1 / math.sqrt(var + 1e-8) if var > 1e-8 else 0.0
    return [
        [((x - mean) * scale + (0.0 if shift else mean)) * m for x, m in zip(line, ms, strict=True)]
        for line, ms in zip(table, mask, strict=True)
    ]


def settings(**changes):
    numbers = dict(
        minibatch_size=2, epochs=1, samples_per_prompt=1, advantage="gae", gamma=1.0, lam=0.95,
        cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, entropy_coef=0.0, kl_penalty="reward",
        target_kl=0.0, whiten_advantages="none", whiten_rewards=False, dropout=False,
    )  # fmt: skip
    return PPOSettings(**(numbers | changes))


# ---- comparisons --------------------------------------------------------------------------------


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


@every_mask
def test_mean_variance_and_whitening(name):
    case = Case(name)
    values, mask = arrays(case.values, case.mask)
    assert math.isclose(masked_mean(values, mask), slow_mean(case.values, case.mask), abs_tol=1e-6)
    assert math.isclose(masked_var(values, mask), slow_var(case.values, case.mask), abs_tol=1e-5)
    for shift in (True, False):
        expected = slow_whiten(case.values, case.mask, shift)
        np.testing.assert_allclose(whiten(values, mask, shift_mean=shift), expected, atol=1e-4)


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


@every_mask
def test_rollout_statistics(name):
    case = Case(name)
    _, non_score = slow_rewards(case, 0.2)
    queries = list(range(3, 3 + case.rows))
    responses = [int(sum(line)) for line in case.mask]

    def std(values):
        if len(values) < 2:
            return 0.0
        mean = sum(values) / len(values)
        return math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1))

    kls = [
        sum((p - q) * m for p, q, m in zip(*lines, strict=True))
        for lines in zip(case.logprobs, case.ref, case.mask, strict=True)
    ]
    surprise = [
        sum(-p * m for p, m in zip(*lines, strict=True))
        for lines in zip(case.logprobs, case.mask, strict=True)
    ]
    scores = list(case.scores)
    expected = {
        "objective/kl": sum(kls) / len(kls),
        "objective/kl_dist": kls,
        "objective/logprobs": slow_counted(case.logprobs, case.mask),
        "objective/ref_logprobs": slow_counted(case.ref, case.mask),
        "objective/kl_coef": 0.2,
        "objective/entropy": sum(surprise) / len(surprise),
        "ppo/mean_non_score_reward": slow_mean(non_score, case.mask),
        "ppo/mean_scores": sum(scores) / len(scores),
        "ppo/std_scores": std(scores),
        "env/reward_mean": sum(scores) / len(scores),
        "env/reward_std": std(scores),
        "env/reward_dist": scores,
        "tokens/queries_len_mean": sum(queries) / len(queries),
        "tokens/queries_len_std": std(queries),
        "tokens/queries_dist": queries,
        "tokens/responses_len_mean": sum(responses) / len(responses),
        "tokens/responses_len_std": std(responses),
        "tokens/responses_dist": responses,
    }
    ours = rollout_statistics(
        logprobs=case.logprobs,
        ref_logprobs=case.ref,
        non_score_rewards=np.array(non_score),
        mask=np.array(case.mask),
        scores=case.scores,
        query_lengths=np.array(queries),
        response_lengths=np.array(responses),
        kl_coef=0.2,
    )
    assert set(ours) == set(expected)
    for key, wanted in expected.items():
        np.testing.assert_allclose(ours[key], wanted, atol=1e-9, err_msg=key)


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


def test_controllers_follow_the_formula():
    controller = KLController("adaptive", target=6.0, horizon=10000.0)
    coefficient, slow = jnp.float32(0.2), 0.2
    for kl in (0.0, 30.0, 6.0, 6.5, -4.0, 5.9):
        coefficient = controller.next(coefficient, jnp.float32(kl), 16)
        slow *= 1 + min(max(kl / 6.0 - 1, -0.2), 0.2) * 16 / 10000
        assert math.isclose(coefficient, slow, rel_tol=1e-6)
    assert controller.next(coefficient, jnp.float32(jnp.nan), 16) == coefficient
    assert KLController("fixed", 6.0, 1.0).next(
        jnp.float32(0.2), jnp.float32(99), 16
    ) == np.float32(0.2)
    with pytest.raises(InputError, match="kl_target"):
        KLController("adaptive", 0.0, 1.0)


def test_k1_and_k3_estimate_the_kl():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    exact = float(np.sum(p * np.log(p / q)))
    for estimator in (k1, k3):
        estimates = estimator(*arrays(np.log(p), np.log(q)))
        assert math.isclose(np.sum(p * np.asarray(estimates)), exact, rel_tol=1e-5)
    assert (np.asarray(k3(*arrays(np.log(p), np.log(q)))) >= 0).all()


def test_scores():
    shaped = shape_scores(
        np.array([5.0, -5.0, 0.5]), np.array([True, False, False]), ScoreSettings(2.0, 3.0, 1.0)
    )
    np.testing.assert_array_equal(shaped, [3.0, -4.0, 0.0])
    scores, usable, warning = usable_scores(np.array([1.0, np.nan, np.inf]), ["a", "bad", "c"])
    np.testing.assert_array_equal(scores, [1, 0, 0])
    np.testing.assert_array_equal(usable, [True, False, False])
    assert "2 of 3" in warning and "'bad'" in warning
    assert "all 2 scores are 1" in usable_scores(np.ones(2), ["a", ""])[2]
    assert usable_scores(np.array([1.0, 2.0]), ["a", "b"])[2] == ""
    with pytest.raises(InputError, match="none of the 2 scores is finite"):
        usable_scores(np.array([np.nan, np.nan]), ["a", "b"])
    with pytest.raises(InputError, match="one score a response"):
        usable_scores(np.ones((2, 2)), ["a", "b"])


@pytest.mark.parametrize("chunk", [0, 1, 3, 5, 99])
def test_token_logprobs_and_entropies(chunk):
    """Against a plain log-softmax over everything at once, values and gradients."""
    keys = jax.random.split(jax.random.key(0), 4)
    hidden, kernel = jax.random.normal(keys[0], (2, 5, 4)), jax.random.normal(keys[1], (4, 9))
    targets = jax.random.randint(keys[2], (2, 5), 0, 9)
    weights = jax.random.normal(keys[3], (2, 2, 5))

    def ours(kernel, hidden):
        results = token_logprobs(lambda k, h: h @ k, kernel, hidden, targets, chunk=chunk)
        return jnp.sum(jnp.stack(results) * weights), results

    def plain(kernel, hidden):
        logs = jax.nn.log_softmax(hidden @ kernel)
        chosen = (logs * jax.nn.one_hot(targets, 9)).sum(-1)
        results = chosen, -(jnp.exp(logs) * logs).sum(-1)
        return jnp.sum(jnp.stack(results) * weights), results

    got = jax.value_and_grad(ours, argnums=(0, 1), has_aux=True)(kernel, hidden)
    expected = jax.value_and_grad(plain, argnums=(0, 1), has_aux=True)(kernel, hidden)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)


def test_contradicting_settings_are_refused():
    with pytest.raises(InputError, match="samples_per_prompt = 1: rloo"):
        settings(advantage="rloo")
    with pytest.raises(InputError, match="ppo.kl_penalty must be one of"):
        settings(kl_penalty="k2")
