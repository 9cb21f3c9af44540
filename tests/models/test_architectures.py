"""An encoder alone, and a decoder alone: who sees whom, and that padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.architectures import DecoderOnly, EncoderOnly
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.masks import attention_mask

CONFIG = T5Config(
    vocab_size=40,
    d_model=16,
    d_kv=4,
    d_ff=32,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_heads=3,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
    dropout_rate=0.0,
)
INPUTS = np.array([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]], np.int32)
TARGETS = np.array([[0, 20, 21, 22], [0, 23, 24, 25]], np.int32)


def made(kind, config=CONFIG, attention="einsum"):
    model = kind(config, Execution(attention=attention))
    return model, init_params(model, jax.random.key(0))


def logits(model, params, inputs, targets, *segment_ids):
    return model.apply({"params": params}, inputs, targets, *segment_ids)


def test_the_mask_of_a_prefix():
    mask = attention_mask(None, None, causal=True, query_length=4, key_length=4, prefix_length=2)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(mask, np.array(expected, bool))


@pytest.mark.parametrize(
    "attention", [pytest.param("einsum", marks=pytest.mark.slow), "rowwise", "blockwise"]
)
def test_who_sees_whom_in_a_prefix_language_model(attention, small_blocks):
    """By gradient: hidden state t depends on all of the input, and of the target on positions up to t."""
    model, params = made(DecoderOnly, attention=attention)

    def hidden(embedded):
        length = INPUTS.shape[1]
        ids = jnp.ones((1, embedded.shape[1]), jnp.int32)
        return model.apply(
            {"params": params}, embedded, ids, length, method=lambda m, *a: m.decoder(*a)
        )

    length = INPUTS.shape[1] + TARGETS.shape[1]
    x = jax.random.normal(jax.random.key(1), (1, length, CONFIG.d_model))
    jacobian = jax.jacobian(hidden)(x)[0, :, :, 0]  # query, embed, key, embed
    depends = np.abs(jacobian).sum(axis=(1, 3)) > 0
    at = np.arange(length)
    expected = (at[None, :] < INPUTS.shape[1]) | (at[None, :] <= at[:, None])
    np.testing.assert_array_equal(depends, expected)


@pytest.mark.parametrize("kind", [DecoderOnly, pytest.param(EncoderOnly, marks=pytest.mark.slow)])
def test_padding_changes_nothing(kind):
    model, params = made(kind)
    expected = logits(model, params, INPUTS[1:, :3], TARGETS[1:])
    for wide in ([[10, 11, 12, 0, 0]], [[0, 0, 0, 10, 11, 12]], [[0, 10, 11, 12, 0]]):
        found = logits(model, params, np.array(wide, np.int32), TARGETS[1:])
        np.testing.assert_allclose(found, expected, atol=2e-5)
    # and it is the segment ids that say what padding is
    ids = np.array([[1, 1, 1, 0, 0]], np.int32)
    junk = np.array([[10, 11, 12, 13, 14]], np.int32)
    np.testing.assert_allclose(logits(model, params, junk, TARGETS[1:], ids), expected, atol=2e-5)


def test_a_batch_gives_each_row_what_it_gives_alone():
    model, params = made(DecoderOnly)
    both = logits(model, params, INPUTS, TARGETS)
    for row in range(2):
        alone = logits(model, params, INPUTS[row : row + 1], TARGETS[row : row + 1])
        np.testing.assert_allclose(both[row : row + 1], alone, atol=2e-5)


def test_the_input_matters_and_an_encoder_does_not_read_what_was_written():
    for kind in (DecoderOnly, EncoderOnly):
        model, params = made(kind)
        base = logits(model, params, INPUTS, TARGETS)
        other = INPUTS.copy()
        other[0, 2] = 30
        changed = np.abs(logits(model, params, other, TARGETS) - base).max(axis=(1, 2))
        assert changed[0] > 1e-3 and changed[1] < 1e-6
        written = TARGETS.copy()
        written[0, 1] = 31
        moved = np.abs(logits(model, params, INPUTS, written) - base)[0].max(axis=-1)
        assert (moved[1:] > 1e-4).all() == (kind is DecoderOnly)
        assert moved[0] < 1e-6  # it stands behind the first position


def test_against_a_slow_loop():
    """One layer, one head at a time, in numpy float64, from the definition."""
    import dataclasses

    config = dataclasses.replace(CONFIG, num_decoder_layers=1)
    model, params = made(DecoderOnly, config)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    layer = params["decoder"]["layers_0"]
    inputs, targets = INPUTS[0], TARGETS[0]
    tokens, prefix = np.concatenate([inputs, targets]), len(inputs)
    x = params["token_embedder"]["embedding"][tokens]

    def norm(v, scale):
        return v / np.sqrt((v**2).mean(-1, keepdims=True) + config.layer_norm_epsilon) * scale

    from t5x_lite.models.relative_position import distance_buckets

    h = norm(x, layer["pre_attention_layer_norm"]["scale"])
    attention, out = layer["attention"], np.zeros_like(x)
    for head in range(config.num_heads):
        q, k, v = (h @ attention[n]["kernel"][:, head] for n in ("query", "key", "value"))
        for i in range(len(tokens)):
            seen = [j for j in range(len(tokens)) if j < prefix or j <= i]
            buckets = distance_buckets(
                np.array([j - i for j in seen]),
                bidirectional=True,
                num_buckets=32,
                max_distance=128,
            )
            bias = params["decoder"]["relpos_bias"]["rel_embedding"][head][buckets]
            scores = np.array([q[i] @ k[j] for j in seen]) + bias
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[i] += (weights @ v[seen]) @ attention["out"]["kernel"][head]
    x = x + out
    h = norm(x, layer["pre_mlp_layer_norm"]["scale"])
    x = x + np.maximum(h @ layer["mlp"]["wi"]["kernel"], 0) @ layer["mlp"]["wo"]["kernel"]
    x = norm(x, params["decoder"]["decoder_norm"]["scale"])[prefix:] * config.d_model**-0.5
    expected = x @ params["token_embedder"]["embedding"].T
    found = logits(
        model, jax.tree.map(jnp.float32, params), INPUTS[:1], TARGETS[:1]
    )  # fmt: skip
    np.testing.assert_allclose(found[0], expected, atol=1e-4, rtol=1e-4)
