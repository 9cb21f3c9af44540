"""The update that all trainers share, on least squares: by hand, in slices, and where a number is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.train.state import init_state
from t5x_lite.train.update import Objective, counted_rows, culprit_of, make_update

RATE = 0.1


def sums(params, adapters, batch, rng):
    counts = counted_rows(batch).astype(jnp.float32)
    errors = batch["x"] @ params["w"] - batch["y"]
    return {"loss": jnp.sum(jnp.square(errors) * counts), "weight": jnp.sum(counts)}


SQUARES = Objective(
    sums,
    lambda batch: counted_rows(batch).astype(jnp.float32).sum(),
    lambda sums, total: {"loss": sums["loss"] / total},
)


@pytest.fixture
def batch():
    """Eight rows; the last three only fill the batch, so that slices hold unlike numbers of real ones."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(8, 3)).astype(np.float32),
        "y": rng.normal(size=8).astype(np.float32),
        "decoder_loss_weights": np.array([[0, 1]] * 5 + [[0, 0]] * 3, np.float32),
    }


def take(batch, accumulation=1, optimizer=None):
    optimizer = optimizer or optax.sgd(RATE)
    state = init_state({"w": jnp.array([1.0, -2.0, 0.5])}, optimizer)
    step = make_update(SQUARES, optimizer, lambda step: RATE, accumulation=accumulation)
    return state, *jax.jit(step)(state, batch, jax.random.key(0))


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_the_gradient_of_the_mean_over_the_rows_that_count(batch, accumulation):
    before, after, metrics = take(batch, accumulation)
    w, gradient, loss = np.asarray(before.params["w"], np.float64), np.zeros(3), 0.0
    for x, y in zip(batch["x"][:5].astype(float), batch["y"][:5].astype(float), strict=True):
        gradient += 2 * (x @ w - y) * x / 5
        loss += (x @ w - y) ** 2 / 5
    np.testing.assert_allclose(after.params["w"], w - RATE * gradient, rtol=1e-5)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert metrics["skipped"] == 0 and after.step == 1


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_changes_nothing_but_the_step(batch, bad, accumulation):
    batch["y"][1] = bad
    before, after, metrics = take(batch, accumulation, optax.adam(RATE))
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, before.opt_state)
    assert metrics["skipped"] == 1 and after.step == 1


def test_a_batch_without_a_row_that_counts_has_no_gradient(batch):
    batch["decoder_loss_weights"][:] = 0
    before, after, metrics = take(batch)
    np.testing.assert_array_equal(after.params["w"], before.params["w"])
    assert metrics["loss"] == 0 and metrics["grad_norm"] == 0


def test_the_logged_rate_is_the_one_that_is_used(batch):
    """The second of three steps is skipped: the third uses, and says, what the second would have."""
    schedule = optax.linear_schedule(RATE, 0.0, 10)
    optimizer = optax.sgd(schedule)
    state = init_state({"w": jnp.array([1.0, -2.0, 0.5])}, optimizer)
    step = jax.jit(make_update(SQUARES, optimizer, schedule))
    bad = {**batch, "y": np.full(8, np.nan, np.float32)}
    rates = []
    for one in (batch, bad, batch):
        new, metrics = step(state, one, jax.random.key(0))
        moved = np.linalg.norm(np.asarray(new.params["w"]) - np.asarray(state.params["w"]))
        if not metrics["skipped"]:
            assert metrics["learning_rate"] == pytest.approx(
                float(moved / metrics["grad_norm"]), rel=1e-4
            )
        rates.append(float(metrics["learning_rate"]))
        state = new
    assert rates == pytest.approx([RATE, 0.9 * RATE, 0.9 * RATE])


def test_the_leaf_whose_gradient_is_not_finite_is_known():
    """The third in the tree's order, of five; -1 where all are finite, or the loss alone is not."""
    grads = {name: jnp.ones((2, 3)) for name in "abcde"}
    assert culprit_of(grads) == -1
    assert culprit_of({**grads, "c": grads["c"].at[1, 2].set(jnp.nan), "e": grads["e"] / 0}) == 2
