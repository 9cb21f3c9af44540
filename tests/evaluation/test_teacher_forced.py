"""Teacher-forced sums are exact over batches of unequal weight."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.evaluation.teacher_forced import evaluate_loss


def step(params, batch):
    weights = batch["decoder_loss_weights"]
    return {
        "loss_sum": params * (batch["loss"] * weights).sum(),
        "weight_sum": weights.sum(),
        "correct_sum": (batch["correct"] * weights).sum(),
        "unused": jnp.zeros(3),
    }


def batch(rng, rows, padding=0):
    weights = np.ones((rows, 4), np.float32)
    weights[rows - padding :] = 0
    return {
        "loss": rng.random((rows, 4), np.float32),
        "correct": rng.integers(0, 2, (rows, 4)).astype(np.float32),
        "decoder_loss_weights": weights,
    }


def test_means_are_over_tokens_not_batches():
    rng = np.random.default_rng(0)
    batches = [batch(rng, 2), batch(rng, 7), batch(rng, 5, padding=4)]
    result = evaluate_loss(step, 2.0, iter(batches))
    weights = np.concatenate([b["decoder_loss_weights"] for b in batches])
    losses = np.concatenate([b["loss"] for b in batches])
    correct = np.concatenate([b["correct"] for b in batches])
    assert result["tokens"] == 40
    assert result["loss"] == pytest.approx(2 * (losses * weights).sum() / 40, rel=1e-6)
    assert result["accuracy"] == pytest.approx((correct * weights).sum() / 40)
    assert result["perplexity"] == math.exp(result["loss"])


def test_sums_do_not_lose_small_batches():
    # In float32, 2**24 + 1 is 2**24: a running float32 sum would stand still.
    sums = {"loss_sum": 1.0, "weight_sum": 1.0, "correct_sum": 1.0}
    big = {name: float(2**24) for name in sums}
    result = evaluate_loss(
        lambda _, b: {k: jnp.float32(v) for k, v in b.items()}, None, [big] + [sums] * 5
    )
    assert result["tokens"] == 2**24 + 5 and result["loss"] == 1.0


def test_batch_is_read_after_the_next_is_dispatched(monkeypatch):
    import jax

    events = []
    real = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda x: events.append("read") or real(x))
    rng = np.random.default_rng(0)

    def recorded(params, b):
        events.append("dispatch")
        return step(params, b)

    evaluate_loss(recorded, 1.0, [batch(rng, 2) for _ in range(3)])
    assert events == ["dispatch", "dispatch", "read", "dispatch", "read", "read"]


def test_nothing_to_score_and_overflow():
    with pytest.raises(InputError, match="no target token"):
        evaluate_loss(step, 1.0, [])
    with pytest.raises(InputError, match="no target token"):
        evaluate_loss(step, 1.0, [batch(np.random.default_rng(0), 2, padding=2)])
    assert evaluate_loss(step, 1e6, [batch(np.random.default_rng(0), 2)])["perplexity"] == math.inf
