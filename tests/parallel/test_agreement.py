"""Eight devices compute what one does: loss, gradients and greedy tokens, however the mesh cuts them."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.config import Execution
from t5x_lite.models.gathered import on_sides
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.rules import MESH_AXES
from t5x_lite.parallel.shardings import (
    batch_sharding,
    optimizer_shardings,
    param_shardings,
    put_batch,
    replicated,
)
from t5x_lite.params.paths import flatten
from t5x_lite.params.stacking import stack
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import make_train_step

SIZES = [(1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2), (2, 1, 2, 2)]
ROWS, ENCODER_LENGTH, DECODER_LENGTH = 16, 12, 9
SETTINGS = LossSettings(label_smoothing=0.1, z_loss=1e-3, chunk=4)
TOKENS = 24

# Makes the gradients visible: they are its state. Parameters stay.
RECORD_GRADIENTS = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params: (jax.tree.map(jnp.zeros_like, params), grads),
)


def mesh_of(sizes):
    count = int(np.prod(sizes))
    return make_mesh(dict(zip(MESH_AXES, sizes, strict=True)), jax.devices()[:count])


def packed_batch(config):
    """Two or three examples a row, and padding behind them; rows differ in where they are cut."""
    rng = np.random.default_rng(0)

    def tokens_and_ids(length):
        tokens = rng.integers(2, config.vocab_size, (ROWS, length)).astype(np.int32)
        first = rng.integers(2, 5, (ROWS, 1))
        second = first + rng.integers(1, 4, (ROWS, 1))
        position = np.arange(length)
        ids = 1 + (position >= first) + (position >= second)
        ids = np.where(position >= length - rng.integers(0, 3, (ROWS, 1)), 0, ids).astype(np.int32)
        return np.where(ids == 0, 0, tokens), ids

    encoder, encoder_ids = tokens_and_ids(ENCODER_LENGTH)
    targets, decoder_ids = tokens_and_ids(DECODER_LENGTH)
    return {
        "encoder_input_tokens": encoder,
        "encoder_segment_ids": encoder_ids,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_segment_ids": decoder_ids,
        "decoder_loss_weights": (decoder_ids != 0).astype(np.float32),
    }


def loss_and_gradients(config, params, sizes, execution, accumulation, sides=None):
    """One train step on a mesh, state and batch in their shards; `sides` of `models.gathered.on_sides`."""
    mesh, model = mesh_of(sizes), T5(config, execution)
    abstract = abstract_params(model)
    shardings = param_shardings(abstract, logical_axes(model), mesh)
    state_shardings = TrainState(
        step=replicated(mesh),
        params=shardings,
        opt_state=optimizer_shardings(RECORD_GRADIENTS, abstract, shardings, mesh),
    )
    step = make_train_step(
        model, RECORD_GRADIENTS, lambda step: 1.0, SETTINGS, accumulation=accumulation
    )
    with on_mesh(mesh), on_sides(sides or {}):
        state = jax.device_put(init_state(params, RECORD_GRADIENTS), state_shardings)
        train_step = jax.jit(
            step, donate_argnums=0, out_shardings=(state_shardings, replicated(mesh))
        )
        state, metrics = train_step(state, put_batch(packed_batch(config), mesh), jax.random.key(0))
    return metrics, state.opt_state


@pytest.fixture(scope="module")
def expected(config, random_params):
    """On one device, unrolled, nothing recomputed, the whole batch at once."""
    params = random_params(config)
    return loss_and_gradients(config, params, (1, 1, 1, 1), Execution(attention="einsum"), 1)


# Every axis alone and together, and either way of layers; all pairs of these are slow. The last as where an axis lies
# over two sides of a torus: gathered and scattered along one after the other.
QUICK = {((1, 1, 8, 1), True), ((1, 2, 2, 2), False), ((2, 1, 2, 2), True)}
PAIRS = [
    pytest.param(*pair, None, marks=() if pair in QUICK else pytest.mark.slow)
    for pair in itertools.product(SIZES, (False, True))
]


@pytest.mark.parametrize(
    ("sizes", "scan_layers", "sides"),
    [
        *PAIRS,
        pytest.param((1, 1, 4, 2), True, {"fsdp": (2, 2)}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_loss_and_gradients(config, random_params, expected, sizes, scan_layers, sides):
    params = random_params(config)
    execution = Execution(remat="full" if scan_layers else "dots", scan_layers=scan_layers)
    expected_metrics, expected_gradients = expected
    if scan_layers:
        params, expected_gradients = stack(params), stack(expected_gradients)
    metrics, gradients = loss_and_gradients(config, params, sizes, execution, 2, sides)
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    for path, value in flatten(expected_gradients).items():
        # Single elements: 1.4e-5 of the largest on one CPU, under 1e-5 on others.
        difference = np.asarray(flatten(gradients)[path]) - np.asarray(value)
        assert np.linalg.norm(difference) <= 1e-5 * np.linalg.norm(value), path
        assert np.abs(difference).max() <= 3e-5 * np.abs(value).max(), path


@pytest.fixture(scope="module")
def generated(config, random_params):
    """A function: greedy tokens and their log-probabilities on a mesh of these sizes."""
    rng = np.random.default_rng(1)
    inputs = rng.integers(2, config.vocab_size, (ROWS, ENCODER_LENGTH)).astype(np.int32)
    inputs[np.arange(ENCODER_LENGTH) >= rng.integers(3, ENCODER_LENGTH + 1, (ROWS, 1))] = 0

    @functools.cache
    def generate(sizes):
        mesh, model = mesh_of(sizes), T5(config, Execution())
        shardings = param_shardings(abstract_params(model), logical_axes(model), mesh)
        with on_mesh(mesh):
            output = Generator(config, Execution()).generate(
                jax.device_put(random_params(config), shardings),
                jax.device_put(inputs, batch_sharding(mesh)),
                GenerationSettings(max_new_tokens=TOKENS),
                with_logprobs=True,
            )
        return np.asarray(output.tokens), np.asarray(output.logprobs)

    return generate


@pytest.mark.parametrize(
    "sizes",
    [pytest.param(sizes, marks=() if sizes == SIZES[-1] else pytest.mark.slow) for sizes in SIZES],
    ids=str,
)
def test_greedy_tokens(generated, sizes):
    expected, expected_logprobs = generated((1, 1, 1, 1))
    assert len(np.unique(expected)) > 20  # a text, not one token forever
    tokens, logprobs = generated(sizes)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(logprobs, expected_logprobs, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_cut_computes_in_pieces(config, random_params):
    """Or agreement would be that of eight copies: no device's program holds the activations of all rows."""
    mesh, model = (
        mesh_of((1, 8, 1, 1)),
        T5(dataclasses.replace(config, num_decoder_layers=1), Execution()),
    )
    shapes = abstract_params(model)
    shardings = param_shardings(shapes, logical_axes(model), mesh)
    with on_mesh(mesh):
        arguments = [
            jax.tree.map(
                lambda leaf, sharding: jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=sharding
                ),
                shapes,
                shardings,
            ),
            *(
                jax.ShapeDtypeStruct((ROWS, length), jnp.int32, sharding=batch_sharding(mesh))
                for length in (ENCODER_LENGTH, DECODER_LENGTH)
            ),
        ]
        program = jax.jit(lambda params, *tokens: model.apply({"params": params}, *tokens))
        text = program.lower(*arguments).compile().as_text()
    assert f"f32[{ROWS // 8},{DECODER_LENGTH},{config.vocab_size}]" in text
    assert f"f32[{ROWS},{DECODER_LENGTH},{config.vocab_size}]" not in text
    assert f"f32[{ROWS},{ENCODER_LENGTH},{config.d_model}]" not in text
