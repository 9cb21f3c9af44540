"""Accuracy of the likeliest choice, by hand."""

import numpy as np
import pytest

from t5x_lite.evaluation.choice_scores import ChoiceScores
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.rank_classification import MEAN, SUM, chosen, rank_scores

BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)


def scores(logprobs, tokens):
    return ChoiceScores(np.array(logprobs), np.array(tokens), np.zeros(len(tokens), bool))


# Yes (1 token), no (2), maybe (4): the sum favours the short one.
ROWS = [
    scores([-2.0, -3.0, -3.6], [1, 2, 4]),  # sum: 0; means -2, -1.5, -0.9: 2
    scores([-1.0, -1.0, -9.0], [1, 2, 4]),  # sum: a tie, the first; means -1, -0.5, -2.25: 1
    scores([-9.0, -1.0, -8.0], [1, 2, 4]),  # sum: 1; means -9, -0.5, -2: 1
    scores([-1.0, -4.0], [1, 2]),  # sum: 0; means -1, -2: 0
]


def test_a_case_by_hand():
    assert chosen(ROWS, SUM).tolist() == [0, 0, 1, 0]
    assert chosen(ROWS, MEAN).tolist() == [2, 1, 1, 0]
    gold, answers = np.array([2, 0, 1, 0]), ["maybe", "yes", "no", "yes"]
    result = rank_scores(ROWS, gold, answers, BOOTSTRAP, np.array([0, 1, 2, 2]))
    assert (result["rows"], result["groups"]) == (4, 3)
    assert result["choices"] == {"least": 2, "most": 3}
    assert result["accuracy"]["sum"]["mean"] == 0.75 and result["accuracy"]["mean"]["mean"] == 0.75
    assert result["majority"] == {"answer": "yes", "accuracy": 0.5}
    assert result["differences"]["sum"]["mean"] == 0.25
    assert result["chance"] == pytest.approx((1 / 3 * 3 + 1 / 2) / 4)
    assert result["gold"]["logprob"] == pytest.approx((-3.6 - 1 - 1 - 1) / 4)
    shares = [
        np.exp(each.logprobs[g]) / np.exp(each.logprobs).sum()
        for each, g in zip(ROWS, gold, strict=True)
    ]
    assert result["gold"]["probability"] == pytest.approx(np.mean(shares))
