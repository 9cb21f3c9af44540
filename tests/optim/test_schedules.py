"""Schedules by values worked out by hand."""

import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.optim.sections import ScheduleSettings


def rates(steps, name, total_steps=12, **changes):
    settings = dict(learning_rate=1.0, warmup_steps=4, final_fraction=0.2) | changes
    schedule = make_schedule(ScheduleSettings(name, **settings), total_steps)
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "rsqrt"])
def test_the_warm_up_rises_from_above_zero_to_the_peak(name):
    np.testing.assert_allclose(rates(range(5), name), [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", {4: 1.0, 8: 1.0, 12: 1.0}),
        ("linear", {4: 1.0, 6: 0.8, 8: 0.6, 12: 0.2, 20: 0.2}),
        # .2 + .8 * (1 + cos(pi t)) / 2
        ("cosine", {4: 1.0, 6: 0.2 + 0.8 * (1 + 0.5**0.5) / 2, 8: 0.6, 12: 0.2, 20: 0.2}),
        ("rsqrt", {4: 1.0, 12: (4 / 12) ** 0.5, 16: 0.5, 100: 0.2}),
    ],
)
def test_after_the_warm_up(name, expected):
    np.testing.assert_allclose(rates(expected, name), list(expected.values()), rtol=1e-6)


def test_without_a_warm_up():
    assert rates([0, 3], "rsqrt", warmup_steps=0) == [1.0, 0.5]
    np.testing.assert_allclose(rates([0, 6, 12], "linear", warmup_steps=0), [1.0, 0.6, 0.2])


def test_the_learning_rate_is_the_peak():
    np.testing.assert_allclose(rates([0, 4], "cosine", learning_rate=3e-3), [6e-4, 3e-3], rtol=1e-6)


def test_bad_schedules():
    with pytest.raises(InputError, match=r"schedule\.name .*'cosine'.*got 'cos'"):
        rates([], "cos")
    with pytest.raises(InputError, match="schedule.warmup_steps must be a whole number >= 0"):
        rates([], "linear", warmup_steps=-1)
    for warmup_steps in (12, 13):
        with pytest.raises(
            InputError, match=rf"schedule\.warmup_steps .* 12 steps, got {warmup_steps}"
        ):
            rates([], "linear", warmup_steps=warmup_steps)
    assert rates([0], "constant", warmup_steps=0, total_steps=1) == [1.0]
