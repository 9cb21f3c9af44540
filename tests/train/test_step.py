"""The train step: what it computes, what it refuses to apply, what it does to its buffers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.params.paths import flatten
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import loss_sums, make_eval_step, make_train_step

SMOOTHED = LossSettings(label_smoothing=0.1, z_loss=1e-3, chunk=2)
PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)


def schedule(step):
    return 0.01 * (step + 1.0)


@pytest.fixture(scope="module")
def optimizer(adamw):
    return adamw(schedule, weight_decay=0.1, clip_norm=1.0)


@pytest.fixture(scope="module")
def train_step(config, optimizer):
    """One compiled step for the tests that only look at what goes in and comes out."""
    step = make_train_step(T5(config, Execution()), optimizer, schedule, SMOOTHED)
    return jax.jit(step, donate_argnums=0)


@pytest.fixture
def fresh_state(config, optimizer, random_params):
    """A function: new buffers every time, since the step donates them."""
    return lambda: jax.jit(lambda: init_state(random_params(config), optimizer))()


def host(tree):
    """A copy that outlives the donation of `tree`."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def norm_of(tree):
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


# Makes the gradients visible: they are its state.
RECORD_GRADIENTS = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params: (jax.tree.map(jnp.zeros_like, params), grads),
)


def gradients_of(config, params, batch, accumulation):
    step = make_train_step(
        T5(config, Execution()),
        RECORD_GRADIENTS,
        schedule,
        SMOOTHED,
        accumulation=accumulation,
    )
    state, metrics = jax.jit(step)(init_state(params, RECORD_GRADIENTS), batch, jax.random.key(0))
    return state.opt_state, metrics


@pytest.fixture(scope="module")
def of_the_whole_batch(config, random_params, make_batch):
    """Gradients and metrics of the first step."""
    return gradients_of(config, random_params(config), make_batch(config), 1)


@pytest.mark.parametrize("accumulation", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_accumulated_is_the_whole_batch(
    config, random_params, make_batch, of_the_whole_batch, accumulation
):
    """Slices with unequal numbers of tokens: the mean is over tokens, not over slices."""
    params, batch = random_params(config), make_batch(config)
    tokens = batch["decoder_loss_weights"].sum(axis=1).reshape(-1, accumulation).sum(axis=0)
    assert len(set(tokens)) > 1
    expected, expected_metrics = of_the_whole_batch
    gradients, metrics = gradients_of(config, params, batch, accumulation)
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    for path, value in flatten(expected).items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(flatten(gradients)[path], value, atol=1e-5 * scale, err_msg=path)


def test_metrics_are_those_of_the_full_logits(
    config, train_step, fresh_state, make_batch, of_the_whole_batch
):
    state, batch = fresh_state(), make_batch(config)
    params = host(state.params)
    logits = np.asarray(
        jax.jit(T5(config, Execution(attention="einsum")).apply)(
            {"params": params}, batch["encoder_input_tokens"], batch["decoder_input_tokens"]
        ),
        np.float64,
    )
    gradients, _ = of_the_whole_batch
    state, metrics = train_step(state, batch, jax.random.key(0))

    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    log_z = np.log(np.exp(logits).sum(-1))
    logprobs = logits - log_z[..., None]
    nll = -np.take_along_axis(logprobs, targets[..., None], -1)[..., 0]
    loss = 0.9 * nll - 0.1 * logprobs.mean(-1) + 1e-3 * log_z**2
    expected = {
        "loss": (loss * weights).sum() / weights.sum(),
        "nll": (nll * weights).sum() / weights.sum(),
        "accuracy": ((logits.argmax(-1) == targets) * weights).sum() / weights.sum(),
        "tokens": weights.sum(),
        "grad_norm": norm_of(gradients),  # before clipping
        "param_norm": norm_of(state.params),  # after the step
        "learning_rate": 0.01,
        "skipped": 0.0,
        "culprit": -1.0,
    }
    assert expected["grad_norm"] > 1.1  # or clipping had nothing to do
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name].dtype == jnp.float32 and metrics[name].shape == ()
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    _, metrics = train_step(state, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["learning_rate"], 0.02, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_that_is_not_finite_changes_nothing_and_says_so(
    config, train_step, fresh_state, make_batch, bad
):
    batch = make_batch(config)
    state, _ = train_step(fresh_state(), batch, jax.random.key(0))
    before = host(state)
    poisoned = batch["decoder_loss_weights"].copy()
    poisoned[0, 0] = bad
    state, metrics = train_step(
        state, batch | {"decoder_loss_weights": poisoned}, jax.random.key(0)
    )
    assert metrics["skipped"] == 1.0
    assert not np.isfinite(metrics["loss"])
    assert state.step == 2
    assert_same(host((state.params, state.opt_state)), (before.params, before.opt_state))
    # The next good step takes up the state from before the bad one.
    state, metrics = train_step(state, batch, jax.random.key(0))
    expected, _ = train_step(jax.tree.map(jnp.array, before), batch, jax.random.key(0))
    assert metrics["skipped"] == 0.0
    assert_same(host(state.params), host(expected.params))
    assert any((a != b).any() for a, b in zip(
        jax.tree.leaves(host(state.params)), jax.tree.leaves(before.params), strict=True
    ))  # fmt: skip


def test_the_state_is_donated(config, train_step, fresh_state, make_batch):
    state = fresh_state()
    new, _ = train_step(state, make_batch(config), jax.random.key(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))


def test_one_compilation_a_bucket_and_no_transfer_in_the_step(
    config, optimizer, fresh_state, make_batch
):
    traced = []
    inner = make_train_step(T5(config, Execution()), optimizer, schedule, SMOOTHED)

    def step(state, batch, rng):
        traced.append(
            batch["encoder_input_tokens"].shape
        )  # Python runs while jit traces, and only then
        return inner(state, batch, rng)

    train_step = jax.jit(step, donate_argnums=0)
    shapes = [(4, 6, 5), (2, 9, 5)]
    batches = [jax.device_put(make_batch(config, *shape)) for shape in shapes * 3]
    state, rng = fresh_state(), jax.device_put(jax.random.key(0))
    for batch in batches[:2]:  # warm-up: one of each shape
        state, _ = train_step(state, batch, rng)
    compiled = train_step._cache_size()
    with jax.transfer_guard("disallow"):
        for batch in batches:
            state, _ = train_step(state, batch, rng)
    assert train_step._cache_size() == compiled == 2
    assert traced == [(4, 6), (2, 9)]
    assert state.step == 8


def test_dropout_is_drawn_from_the_seed_and_the_number_of_the_step(
    config, random_params, make_batch
):
    config = dataclasses.replace(config, dropout_rate=0.3)
    train_step = jax.jit(
        make_train_step(T5(config, Execution()), RECORD_GRADIENTS, schedule, PLAIN)
    )  # its updates are 0
    state, batch = init_state(random_params(config), RECORD_GRADIENTS), make_batch(config)

    def loss_at(step, seed):
        at = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))
        return float(train_step(at, batch, jax.random.key(seed))[1]["loss"])

    losses = [loss_at(step, seed) for step in (0, 1) for seed in (0, 1)]
    assert len(set(losses)) == 4
    assert [loss_at(step, seed) for step in (0, 1) for seed in (0, 1)] == losses


def test_packed_loss_is_that_of_the_examples_alone(config, random_params, make_batch):
    model, params = T5(config, Execution(attention="einsum")), random_params(config)
    alone = make_batch(config, rows=3, encoder_length=8, decoder_length=8)
    used = {
        side: [int(np.count_nonzero(row)) for row in alone[key]]
        for side, key in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_target_tokens"))
    }

    def packed(key):
        lengths = used[key.split("_")[0]]
        row = np.concatenate([row[:n] for row, n in zip(alone[key], lengths, strict=True)])
        return np.pad(row, (0, 30 - len(row)))[None]

    batch = {key: packed(key) for key in alone}
    for side, lengths in used.items():
        ids = np.repeat(np.arange(1, 4), lengths).astype(np.int32)
        batch[f"{side}_segment_ids"] = np.pad(ids, (0, 30 - len(ids)))[None]
    sums = jax.jit(lambda params, batch: loss_sums(model, params, batch, None, SMOOTHED))
    expected = sums(params, alone)
    assert expected["weight"] == sum(used["decoder"])
    for name, value in sums(params, batch).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, err_msg=name)


def test_evaluation_sums_plain_log_likelihoods_without_dropout(config, random_params, make_batch):
    params, batch = random_params(config), make_batch(config)
    expected = jax.jit(
        lambda params: loss_sums(T5(config, Execution()), params, batch, None, PLAIN)
    )(params)
    dropping = dataclasses.replace(config, dropout_rate=0.5)
    sums = jax.jit(make_eval_step(T5(dropping, Execution())))(params, batch)
    assert sums.keys() == {"loss_sum", "correct_sum", "weight_sum"}
    for ours, theirs in (("loss_sum", "nll"), ("correct_sum", "correct"), ("weight_sum", "weight")):
        np.testing.assert_allclose(sums[ours], expected[theirs], rtol=1e-6)


def test_an_evaluation_never_holds_all_logits(config, random_params, make_batch):
    """By the compiler's own count of temporaries; and the sums are those of all at once."""
    wide = dataclasses.replace(config, vocab_size=4096)
    params, batch = random_params(wide), make_batch(config)
    batch = {key: np.tile(value, (8, 16)) for key, value in batch.items()}
    logits = 4 * batch["decoder_target_tokens"].size * 4096
    steps = {
        chunk: jax.jit(make_eval_step(T5(wide, Execution()), chunk)).lower(params, batch).compile()
        for chunk in (0, 2)
    }
    held = {chunk: step.memory_analysis().temp_size_in_bytes for chunk, step in steps.items()}
    assert held[0] > logits > 2 * held[2]
    sums = {chunk: step(params, batch) for chunk, step in steps.items()}
    for name in sums[0]:
        np.testing.assert_allclose(sums[2][name], sums[0][name], rtol=1e-5)


def test_a_batch_without_a_single_token_is_no_division_by_zero(
    config, train_step, fresh_state, make_batch
):
    """A process may be handed nothing but padding rows at the end of an epoch."""
    batch = make_batch(config)
    empty = np.zeros_like(batch["decoder_loss_weights"])
    state, metrics = train_step(
        fresh_state(), batch | {"decoder_loss_weights": empty}, jax.random.key(0)
    )
    assert metrics["loss"] == 0.0 and metrics["skipped"] == 0.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host(state.params)))


def test_state_starts_at_step_zero(config, optimizer, random_params):
    state = init_state(random_params(config), optimizer)
    assert isinstance(state, TrainState) and state.step.dtype == jnp.int32 and state.step == 0
