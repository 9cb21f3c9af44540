"""Scores before they become rewards: scaled, clipped, and those that are not finite."""

import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.rl.scores import ScoreSettings, shape_scores, usable_scores


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
