"""When a run counts as diverged: every rule of the section, and what a resumed run remembers."""

import json
import math

import numpy as np
import pytest

from t5x_lite.errors import Diverged, InputError
from t5x_lite.train.divergence import DivergenceGuard, first_not_finite, health_of
from t5x_lite.train.sections import DivergenceSettings

FINE = {"skipped": 0.0, "loss": 1.0, "param_norm": 3.0, "culprit": -1.0}
SKIPPED = {"skipped": 1.0, "loss": math.nan, "param_norm": 3.0, "culprit": 1.0}
NAMES = ["a", "b"]


def settings(**changes):
    values = dict(
        in_a_row=3,
        window=10,
        in_window=4,
        spike=0.0,
        spikes_count=False,
        action="stop",
        rollbacks=0,
    )
    return DivergenceSettings(**(values | changes))


def look(guard, metrics, start=1):
    """Looks at each turn in order; which of them leapt."""
    return [
        step for step, one in enumerate(metrics, start) if guard.look(step, health_of(one), NAMES)
    ]


def test_so_many_in_a_row():
    guard = DivergenceGuard(settings(in_window=0), {})
    look(guard, [FINE, SKIPPED, SKIPPED, FINE, SKIPPED, SKIPPED])
    with pytest.raises(Diverged, match="3 updates in a row were skipped") as raised:
        look(guard, [SKIPPED], start=7)
    assert (raised.value.first, raised.value.step, raised.value.tensor) == (5, 7, "b")


def test_so_many_in_a_window():
    guard = DivergenceGuard(settings(), {})
    with pytest.raises(Diverged, match="4 of the last 10 updates") as raised:
        look(guard, [SKIPPED, FINE] * 4)
    assert raised.value.step == 7
    look(DivergenceGuard(settings(), {}), [SKIPPED, FINE, FINE, FINE] * 10)  # three in any window


def test_what_is_off_never_ends_a_run():
    look(DivergenceGuard(settings(in_a_row=0, in_window=0), {}), [SKIPPED] * 50)
    guard = DivergenceGuard(settings(action="skip"), {})
    look(guard, [SKIPPED] * 50)
    guard.finish(50)


def test_a_run_too_short_for_the_counts():
    guard = DivergenceGuard(settings(), {})
    look(guard, [SKIPPED, SKIPPED])
    with pytest.raises(Diverged, match="all of its 2 updates were skipped"):
        guard.finish(2)
    guard = DivergenceGuard(settings(), {})
    look(guard, [SKIPPED, FINE])
    guard.finish(2)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_run_that_goes_on_decides_as_one_that_never_stopped(cut):
    """Also after its state was JSON, and whatever it had counted."""
    noise = np.random.default_rng(0).normal(1.0, 0.01, 40).tolist()
    turns = [{**FINE, "loss": loss} for loss in noise[:25]]
    turns += [SKIPPED, {**FINE, "loss": 5.0}, SKIPPED, SKIPPED]
    policy = settings(spike=7.0, window=30, spikes_count=True)

    def ending(guard, start):
        with pytest.raises(Diverged) as raised:
            look(guard, turns[start - 1 :], start=start)
        return str(raised.value)

    whole = ending(DivergenceGuard(policy, {}), 1)
    assert "diverged at step 26: 3 updates in a row" in whole
    first = DivergenceGuard(policy, {})
    look(first, turns[: 16 + cut])
    resumed = DivergenceGuard(policy, json.loads(json.dumps(first.saved())))
    assert ending(resumed, 17 + cut) == whole


def test_a_rolled_back_run_begins_to_count_anew():
    guard = DivergenceGuard(settings(), {})
    look(guard, [FINE, SKIPPED, SKIPPED])
    look(DivergenceGuard(settings(), guard.saved(), afresh=True), [SKIPPED, SKIPPED], start=4)


def test_leaps_of_the_loss():
    """Told of, they do not count; once they are as many in a row as would end a run, they are the new level."""
    noise = np.random.default_rng(1).normal(2.0, 0.05, 60).tolist()
    level = [{**FINE, "loss": loss} for loss in noise]
    high = [{**FINE, "loss": 6.0 + loss} for loss in noise]
    guard = DivergenceGuard(settings(spike=7.0, window=50), {})
    assert look(guard, level + high) == [61, 62, 63]
    guard = DivergenceGuard(settings(spike=7.0, window=50, spikes_count=True), {})
    with pytest.raises(Diverged, match="skipped or leapt in loss") as raised:
        look(guard, level + high)
    assert (raised.value.first, raised.value.step) == (61, 63)


def test_noise_about_nothing_is_no_leap():
    """Losses of a classifier that knows all its texts: 1e-6, and now and then a hundred times that."""
    losses = [1e-6, 2e-6] * 30 + [1e-4] * 10
    guard = DivergenceGuard(settings(spike=7.0, window=50), {})
    assert look(guard, [{**FINE, "loss": loss} for loss in losses]) == []


def test_ppo_names_its_numbers_otherwise():
    metrics = {"ppo/skipped": 2.0, "ppo/loss/total": 0.5, "ppo/param_norm": 1.0, "ppo/culprit": 0.0}
    assert health_of(metrics) == (2.0, 0.5, 1.0, 0)


def test_the_first_leaf_that_is_not_finite():
    tree = {
        "a": np.ones(3, np.float32),
        "n": np.ones(2, np.int32),
        "w": {"x": np.array([1.0, np.inf])},
    }
    assert first_not_finite(tree) == "w/x"
    assert first_not_finite({"a": tree["a"]}) == ""
    assert first_not_finite({"a": tree["a"], "large": np.full(2, 1e30, np.float32)}) == "large"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_window": 11}, "divergence.in_window is 11, and the window has 10 steps"),
        ({"spikes_count": True}, "divergence.spike is 0"),
        ({"action": "carry on"}, "'stop', 'skip', 'roll_back'"),
    ],
)
def test_settings_that_say_nothing(changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)
