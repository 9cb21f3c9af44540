"""Rollouts on odd masks, with advantages and whitening by slow loops, from the formulas of docs/architecture.md."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.rl.losses import PPOSettings

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
        minibatch_size=2, accumulation=1, epochs=1, samples_per_prompt=1, advantage="gae", gamma=1.0, lam=0.95,
        cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, entropy_coef=0.0, kl_penalty="reward",
        target_kl=0.0, whiten_advantages="none", whiten_rewards=False, dropout=False,
    )  # fmt: skip
    return PPOSettings(**(numbers | changes))
