"""The same seed gives the same run, stopped or not; and one step against stored numbers."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import optax
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.params.paths import flatten
from t5x_lite.train.divergence import DivergenceGuard
from t5x_lite.train.loop import Cadence, Files, StepTurns, run_loop
from t5x_lite.train.sections import DivergenceSettings
from t5x_lite.train.state import init_state
from t5x_lite.train.step import make_train_step

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "one_step.json"
REGENERATE = "T5X_LITE_WRITE_GOLDENS=1 python -m pytest tests/train/test_repeatability.py"
SETTINGS = LossSettings(label_smoothing=0.1, z_loss=1e-4, chunk=2)
STEPS = 6


@pytest.fixture(scope="module")
def dropping(config):
    return dataclasses.replace(config, dropout_rate=0.1)


@pytest.fixture(scope="module")
def optimizer(adamw):
    return adamw(lambda step: 1e-3, weight_decay=0.1, no_weight_decay=(".*/scale",), clip_norm=1.0)


@pytest.fixture(scope="module")
def train_step(dropping, optimizer):
    step = make_train_step(T5(dropping, Execution()), optimizer, lambda step: 1e-3, SETTINGS)
    return jax.jit(step, donate_argnums=0)


@pytest.fixture(scope="module")
def make_state(dropping, optimizer):
    model = T5(dropping, Execution())
    return jax.jit(lambda seed: init_state(init_params(model, jax.random.key(seed)), optimizer))


class Storage:
    """Writer and saver: metrics without their times, states as host copies."""

    def __init__(self):
        self.metrics, self.states = [], {}

    def write(self, step, metrics):
        timeless = {k: v for k, v in metrics.items() if not k.startswith("time/")}
        self.metrics.append((step, timeless))

    def save(self, step, state, metadata):
        self.states[step] = jax.tree.map(np.array, state)

    def wait(self):
        pass


@pytest.fixture
def train(dropping, train_step, make_state, make_batch):
    def run(seed=0, start=0, steps=STEPS, state=None):
        storage = Storage()
        batches = (make_batch(dropping, seed=100 + step) for step in range(start, steps))
        run_loop(
            StepTurns(train_step, batches, jax.random.key(seed), (), lambda step: ()),
            make_state(seed) if state is None else jax.tree.map(jax.numpy.array, state),
            Cadence(steps, log_every=1, evaluate_every=100, save_every=1),
            Files(storage, storage, {}),
            lambda state, stopping: {},
            DivergenceGuard(DivergenceSettings(5, 100, 0, 0.0, False, "stop", 0), {}),
            start=start,
            evaluation_owed=False,
        )
        return storage

    return run


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(train):
    first, second, other = train(), train(), train(seed=1)
    assert first.metrics == second.metrics
    assert_same(first.states, second.states)
    assert first.metrics != other.metrics


def test_a_run_from_any_step_on_is_the_rest_of_the_whole_run(train):
    """Bit by bit, dropout included: a state and the numbers of its steps hold all there is."""
    whole = train()
    for start in (1, 4):
        rest = train(start=start, state=whole.states[start])
        assert rest.metrics == [entry for entry in whole.metrics if entry[0] > start]
        assert_same(rest.states[STEPS], whole.states[STEPS])


def test_one_step_golden(dropping, train_step, make_state, make_batch):
    """Initialization, forward pass, dropout, loss, gradients and AdamW, in numbers."""
    state, metrics = train_step(make_state(0), make_batch(dropping), jax.random.key(0))
    moments = optax.tree_utils.tree_get(state.opt_state, "mu")  # a tenth of the clipped gradients
    numbers = {name: float(value) for name, value in metrics.items()}
    for kind, tree in (("gradient", moments), ("parameter", state.params)):
        for path, leaf in flatten(tree).items():
            numbers[f"rms of {kind}/{path}"] = float(np.sqrt(np.mean(np.square(leaf))))
    if os.environ.get("T5X_LITE_WRITE_GOLDENS"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(numbers, indent=2, sort_keys=True) + "\n")
    golden = json.loads(GOLDEN.read_text())
    message = (
        "one train step gives other numbers than it did. Update the golden only if this change was meant to alter what"
        " a run computes (initialization, dropout's draws, loss, optimizer), and say so in CHANGELOG.md; a refactoring"
        f" or a speed-up must not: {REGENERATE}"
    )
    assert numbers.keys() == golden.keys(), message
    for name, value in golden.items():
        np.testing.assert_allclose(numbers[name], value, rtol=1e-4, err_msg=f"{name}: {message}")
