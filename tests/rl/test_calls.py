"""What a user's reward function may do, and the answer to each."""

import sys
import time

import numpy as np
import pytest

from t5x_lite.errors import InputError, RewardFailed
from t5x_lite.rl import calls
from t5x_lite.rl.calls import Call, Calling
from t5x_lite.rl.rewards import FunctionReward, WeightedSum

ROWS, TEXTS = [{"id": "a"}, {"id": "b"}], ["one", "two"]


def asked(function, retries=0, wait=0.0, timeout=0.0):
    call = Call(function, {}, "config.rewards.mine (my:score)", Calling(retries, wait, timeout))
    return FunctionReward(call)(ROWS, TEXTS)


def test_numbers_and_booleans():
    np.testing.assert_array_equal(asked(lambda rows, texts: [True, False]), [1.0, 0.0])
    np.testing.assert_array_equal(asked(lambda rows, texts: (1, 2.5)), [1.0, 2.5])
    found = asked(lambda rows, texts: [1e300, float("nan")])
    assert found.dtype == np.float32 and np.isinf(found[0]) and np.isnan(found[1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1 + 2j, 0j], "gave complex numbers"),
        (["1", "2"], "gave texts"),
        ([None, 1.0], "gave values of the type NoneType"),
        ([[1.0], [2.0, 3.0]], "expected one number a response"),
        ([1.0], r"gave the shape \(1,\) for 2 responses"),
        (None, "gave values of the type NoneType"),
    ],
)
def test_what_is_no_number_a_response_is_bad_input(given, message):
    with pytest.raises(InputError, match=message) as raised:
        asked(lambda rows, texts: given, retries=3, wait=60.0)  # and is not asked for again
    assert str(raised.value).startswith("config.rewards.mine (my:score)")
    assert "\n" not in str(raised.value)


def fails(rows, texts):
    raise ConnectionError("the service\nis down")


def leaves(rows, texts):
    sys.exit(0)


@pytest.mark.parametrize("timeout", [0.0, 30.0])
@pytest.mark.parametrize(
    ("function", "what"),
    [(fails, "failed: ConnectionError: the service is down"), (leaves, r"called sys.exit\(0\)")],
)
def test_what_it_raises_is_told_in_a_line(function, what, timeout):
    with pytest.raises(RewardFailed, match=what) as raised:
        asked(function, timeout=timeout)
    assert "\n" not in str(raised.value) and "test_calls.py:" in str(raised.value)


def test_it_is_asked_again_each_time_later(monkeypatch):
    waits, calls_made = [], []
    monkeypatch.setattr(calls.time, "sleep", waits.append)

    def at_last(rows, texts):
        calls_made.append(texts)
        if len(calls_made) < 4:
            raise ConnectionError("down")
        return [1.0, 2.0]

    np.testing.assert_array_equal(asked(at_last, retries=3, wait=2.0), [1.0, 2.0])
    assert waits == [2.0, 4.0, 8.0]
    waits.clear()
    with pytest.raises(RewardFailed, match="the last of 3 times"):
        asked(fails, retries=2, wait=200.0)
    assert waits == [200.0, 300.0]  # no wait is longer


def test_one_that_hangs_has_failed():
    begun = time.monotonic()
    with pytest.raises(RewardFailed, match="no answer within 0.3 s"):
        asked(lambda rows, texts: time.sleep(60), timeout=0.3)
    assert time.monotonic() - begun < 10


def test_ctrl_c_is_no_failure_of_the_function():
    def interrupted(rows, texts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(interrupted, retries=5, wait=60.0)


def test_a_part_without_a_number_is_named():
    parts = {
        "good": (1.0, lambda rows, texts: np.ones(2)),
        "bad": (1.0, lambda rows, texts: np.full(2, np.nan)),
    }
    total = WeightedSum(parts)
    assert np.isnan(total(ROWS, TEXTS)).all()
    with pytest.raises(InputError, match="config.rewards.bad: none of its 2 scores is finite"):
        total.to_learn_from(ROWS, TEXTS)
    some = WeightedSum({"some": (2.0, lambda rows, texts: np.array([1.0, np.nan]))})
    assert some.to_learn_from(ROWS, TEXTS)[0] == 2.0
