"""Dropout: only with an rng, one mask along the length, the mean kept, other masks in every layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from t5x_lite.models.config import Execution
from t5x_lite.models.layers import drop
from t5x_lite.models.t5 import T5


class Dropping(nn.Module):
    rate: float
    shared_axis: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return drop(self, x, self.rate, self.shared_axis)


def dropped(x, rate, shared_axis=1, seed=0):
    rngs = {"dropout": jax.random.key(seed)}
    return np.asarray(Dropping(rate, shared_axis).apply({}, x, rngs=rngs))


def test_the_mask_is_shared_along_one_axis():
    x = np.ones((50, 4, 30), np.float32)
    for axis in (1, 2, -1):
        out = dropped(x, 0.25, axis)
        assert (out == np.take(out, [0], axis)).all()
        for other in {0, 1, 2} - {axis % 3}:
            assert (out != np.take(out, [0], other)).any()
        kept = out[out != 0]
        np.testing.assert_allclose(kept, 1 / 0.75, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_mean_is_kept(rate):
    """Of 200,000 draws, within five standard errors."""
    out = dropped(np.ones((200, 1, 1000), np.float32), rate)
    error = np.sqrt(rate / (1 - rate) / out.size)
    assert abs(out.mean() - 1) < 5 * error
    assert abs((out == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / out.size)


def test_without_an_rng_or_a_rate_nothing_is_dropped():
    x = np.ones((2, 3, 4), np.float32)
    np.testing.assert_array_equal(Dropping(0.5, 1).apply({}, x), x)
    np.testing.assert_array_equal(dropped(x, 0.0), x)


def test_a_model_drops_with_an_rng_alone(config, random_params):
    config = dataclasses.replace(
        config, dropout_rate=0.3, num_encoder_layers=1, num_decoder_layers=1
    )
    params = random_params(T5(config, Execution()))
    tokens = np.arange(2, 10, dtype=np.int32)[None]

    def logits_of(dropout_rate):
        model = T5(dataclasses.replace(config, dropout_rate=dropout_rate), Execution())

        @jax.jit
        def logits(rng=None):
            rngs = None if rng is None else {"dropout": rng}
            return model.apply({"params": params}, tokens, tokens, rngs=rngs)

        return logits

    logits, undropped = logits_of(0.3), logits_of(0.0)
    rng, other = jax.random.key(0), jax.random.key(1)
    still, first = logits(), logits(rng)
    np.testing.assert_array_equal(still, undropped(rng))
    np.testing.assert_array_equal(first, logits(rng))
    assert np.abs(first - still).max() > 0.1
    assert np.abs(first - logits(other)).max() > 0.1


@pytest.mark.parametrize("scan_layers", [False, True])
def test_every_layer_draws_its_own_mask(config, scan_layers):
    """Layers that each add a constant to features 1.., where the embedding is 0: with the same mask in both layers
    every feature would be 0 or the sum of both constants."""
    config = dataclasses.replace(config, d_model=64, num_decoder_layers=1, dropout_rate=0.4)
    model = T5(config, Execution(scan_layers=scan_layers))
    parts = {
        "attention": {
            name: {"kernel": np.zeros((64, config.num_heads, config.d_kv), np.float32)}
            for name in ("query", "key", "value")
        },
        "pre_attention_layer_norm": {"scale": np.ones(64, np.float32)},
        "pre_mlp_layer_norm": {"scale": np.ones(64, np.float32)},
        "mlp": {
            "wi": {"kernel": np.zeros((64, config.d_ff), np.float32)},
            "wo": {"kernel": np.ones((config.d_ff, 64), np.float32)},
        },
    }
    parts["attention"]["out"] = {
        "kernel": np.zeros((config.num_heads, config.d_kv, 64), np.float32)
    }
    parts["mlp"]["wi"]["kernel"][0] = 1.0
    parts["mlp"]["wo"]["kernel"][:, 0] = 0.0
    layers = {"layers_0": parts, "layers_1": parts}
    if scan_layers:
        layers = {"layers": jax.tree.map(lambda x: np.stack([x, x]), parts)}
    relpos = np.zeros((config.num_heads, config.relative_attention_num_buckets), np.float32)
    params = {
        "relpos_bias": {"rel_embedding": relpos},
        "encoder_norm": {"scale": np.ones(64, np.float32)},
        **layers,
    }
    x = np.zeros((8, 1, 64), np.float32)  # a batch, since now and then feature 0 itself is dropped
    x[:, :, 0] = 1.0

    @jax.jit
    def encode(params):
        return model.apply(
            {"params": {"encoder": params}},
            method=lambda model: model.encoder(x, jnp.ones((8, 1), jnp.int32)),
            rngs={"dropout": jax.random.key(0)},
        )

    kinds = [
        len(np.unique(row[1:][row[1:] > 0].round(5))) for row in np.asarray(encode(params))[:, 0]
    ]
    assert max(kinds) == 3  # the first constant, the second, both


def test_attention_drops_whole_keys(config, random_params):
    """One mask over all queries: the weight of a key is dropped for all of them, so its value can be."""
    from t5x_lite.models.attention import Attention

    config = dataclasses.replace(config, dropout_rate=0.5)
    attention, length = Attention(config, Execution(attention="einsum")), 6
    model_params = random_params(T5(config, Execution()))
    params = dict(model_params["encoder"]["layers_0"]["attention"])
    # Attention alike to all keys, each with a value of its own.
    params["query"] = {"kernel": np.zeros_like(params["query"]["kernel"])}
    x = np.random.default_rng(0).normal(size=(1, length, config.d_model)).astype(np.float32)

    @jax.jit
    def run(x):
        rngs = {"dropout": jax.random.key(3)}
        return attention.apply({"params": params}, x, x, None, None, None, rngs=rngs)

    out = np.asarray(run(x))
    np.testing.assert_allclose(out[0], np.broadcast_to(out[0, :1], out[0].shape), atol=1e-5)
    assert np.abs(out).max() > 0.01
