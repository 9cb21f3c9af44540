"""The mixture's table: rows of one dialogue are one draw."""

import numpy as np
from ml_collections import ConfigDict

from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean
from t5x_lite.tasks.mixture.scores import TaskScores, tasks_table

CONFIG = ConfigDict(
    {
        "seed": 0,
        "evaluation": {"bootstrap_samples": 2000},
        "data": {"tasks": {"one": {"rate": 1.0}}},
    }
)


def scores_of(values, groups):
    columns = dict.fromkeys(("rouge1", "rouge2", "rougeL", "exact"), values)
    return {"one": TaskScores({}, columns, ["x"] * len(values), groups)}


def test_three_references_of_a_dialogue_are_drawn_together():
    """A dialogue's three rows score alike: the interval is that of the dialogues, wider than that of as many rows."""
    of_dialogue = np.random.default_rng(0).beta(2, 2, 100)
    groups = np.repeat(np.arange(100), 3)
    values = of_dialogue[groups]
    (row,) = tasks_table(CONFIG, None, scores_of(values, groups))
    (alone,) = tasks_table(CONFIG, None, scores_of(of_dialogue, np.arange(100)))
    (naive,) = tasks_table(CONFIG, None, scores_of(values, np.arange(300)))
    assert row["rouge1"] == alone["rouge1"] != naive["rouge1"]
    interval = bootstrap_mean(of_dialogue, Bootstrap(2000, 0.95, 0))
    assert f"{100 * interval.low:.1f}" in row["rouge1"]
    before = scores_of(values * 0.5, groups)
    (row,) = tasks_table(CONFIG, before, scores_of(values, groups))
    (alone,) = tasks_table(
        CONFIG, scores_of(of_dialogue * 0.5, np.arange(100)), scores_of(of_dialogue, np.arange(100))
    )
    assert row["rougeL change"] == alone["rougeL change"]
