"""How a model is run does not change what it computes: attention, remat, scanned layers, compute types."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.layers import FeedForward
from t5x_lite.models.t5 import T5
from t5x_lite.params.stacking import stack

PLAIN = Execution(attention="einsum")


def packed_batch(config, seed=0):
    """Encoder tokens, decoder tokens and their segment ids."""
    rng = np.random.default_rng(seed)
    encoder = rng.integers(2, config.vocab_size, (2, 7)).astype(np.int32)
    decoder = rng.integers(2, config.vocab_size, (2, 5)).astype(np.int32)
    encoder_ids = np.array([[1, 1, 1, 2, 2, 2, 0], [1] * 7], np.int32)
    decoder_ids = np.array([[1, 1, 2, 2, 0], [1] * 5], np.int32)
    return encoder, decoder, encoder_ids, decoder_ids


def scalar(model, rng):
    """params -> a number that depends on every parameter and differently on every logit."""
    inputs = packed_batch(model.config)
    rngs = {"dropout": rng} if rng is not None else None
    weights = np.random.default_rng(1).normal(size=(2, 5, model.config.vocab_size))

    def value(params):
        logits = model.apply({"params": params}, *inputs, rngs=rngs)
        return jnp.sum(jax.nn.log_softmax(logits) * weights.astype(np.float32))

    return value


def value_and_gradients(config, execution, params, rng=None):
    return jax.jit(jax.value_and_grad(scalar(T5(config, execution), rng)))(params)


@pytest.fixture(scope="module")
def params(config, random_params):
    return random_params(T5(config, PLAIN))


@pytest.fixture(scope="module")
def expected(config, params):
    return value_and_gradients(config, PLAIN, params)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"attention": "rowwise"}, marks=pytest.mark.slow),
        pytest.param({"remat": "dots"}, marks=pytest.mark.slow),
        pytest.param({"remat": "full"}, marks=pytest.mark.slow),
        {"scan_layers": True},
        pytest.param({"attention": "blockwise"}, marks=pytest.mark.slow),
        {"scan_layers": True, "remat": "full", "attention": "rowwise"},
        {"scan_layers": True, "remat": "full", "attention": "blockwise"},
        pytest.param({"scan_layers": True, "remat": "dots"}, marks=pytest.mark.slow),
    ],
    ids=lambda changes: "+".join(f"{k}={v}" for k, v in changes.items()),
)
def test_values_and_gradients_stay(config, params, expected, close, changes, small_blocks):
    execution = dataclasses.replace(PLAIN, **changes)
    if execution.scan_layers:
        value, gradients = expected
        params, expected = stack(params), (value, stack(gradients))
    close(value_and_gradients(config, execution, params), expected, 2e-5)


@pytest.mark.parametrize(
    "changes",
    [pytest.param({"remat": "full"}, marks=pytest.mark.slow), {"attention": "blockwise"}],
    ids=str,
)
def test_every_execution_draws_the_same_dropout(
    config, random_params, close, changes, small_blocks
):
    """In the forward and in the backward pass."""
    config = dataclasses.replace(config, num_encoder_layers=1, num_decoder_layers=1)
    params, rng = random_params(T5(config, PLAIN)), jax.random.key(0)
    expected = value_and_gradients(config, PLAIN, params, rng)
    other = dataclasses.replace(PLAIN, **changes)
    close(value_and_gradients(config, other, params, rng), expected, 2e-5)


def test_remat_recomputes(config, params):
    """Or the tests above compare a thing with itself: matmuls of the gradient, counted."""

    def matmuls(remat):
        model = T5(config, dataclasses.replace(PLAIN, remat=remat))
        return str(jax.make_jaxpr(jax.grad(scalar(model, None)))(params)).count("dot_general")

    # Scores and weighted values, in 2 encoder layers and twice in 2 decoder layers.
    assert matmuls("dots") == matmuls("none") + 2 * (2 + 2 * 2)
    assert matmuls("full") > matmuls("dots")


def test_auto_is_rowwise_on_a_single_cpu(config, params):
    def jaxpr(attention):
        model = T5(config, Execution(attention=attention))
        return str(jax.make_jaxpr(scalar(model, None))(params))

    assert jaxpr("auto").count("scan") == jaxpr("rowwise").count("scan") > 0
    assert jaxpr("einsum").count("scan") == 0


@pytest.mark.parametrize("scan_layers", [False, True])
def test_bfloat16_is_near_and_its_logits_are_float32(config, params, scan_layers):
    params = stack(params) if scan_layers else params

    def logits(dtype):
        model = T5(config, Execution(dtype=dtype, attention="einsum", scan_layers=scan_layers))
        return jax.jit(model.apply)({"params": params}, *packed_batch(config))

    exact, rounded = logits("float32"), logits("bfloat16")
    assert rounded.dtype == jnp.float32
    assert 1e-4 < np.max(np.abs(rounded - exact)) / np.max(np.abs(exact)) < 0.05


@pytest.mark.parametrize("scan_layers", [False, True])
def test_float16_is_near_and_keeps_the_residual_sum_in_float32(config, random_params, scan_layers):
    """Also scanned, where the carried sum has one type from the first layer to the last."""
    config = dataclasses.replace(config, tie_word_embeddings=False, scale_decoder_outputs=False)
    params = random_params(T5(config, PLAIN))
    params["token_embedder"]["embedding"] *= 1e5  # beyond 65,504; the norms bring each branch back
    params = stack(params) if scan_layers else params

    def logits(dtype):
        model = T5(config, Execution(dtype=dtype, attention="einsum", scan_layers=scan_layers))
        return jax.jit(model.apply)({"params": params}, *packed_batch(config))

    exact, rounded = logits("float32"), logits("float16")
    assert 1e-6 < np.max(np.abs(rounded - exact)) / np.max(np.abs(exact)) < 0.02


def test_wo_is_float32_under_float16(config):
    """Its sums pass 65,504 in trained models (transformers #20287); those of bfloat16 have float32's range."""
    ones = np.ones((1, 2, config.d_model), np.float32)
    kernels = {
        "wi": {"kernel": np.full((config.d_model, config.d_ff), 50.0, np.float32)},
        "wo": {"kernel": np.full((config.d_ff, config.d_model), 50.0, np.float32)},
    }

    def out(dtype):
        module = FeedForward(config, Execution(dtype=dtype))
        return jax.jit(module.apply)({"params": kernels}, ones)

    total = config.d_model * 50.0 * config.d_ff * 50.0
    assert total > 65_504
    assert out("float16").dtype == jnp.float32
    np.testing.assert_array_equal(out("float16"), np.full(ones.shape, total))
    assert out("bfloat16").dtype == jnp.bfloat16
