"""What an output depends on: the decoder on the past alone, nobody on padding, nobody on other examples of a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5

ATTENTIONS = pytest.mark.parametrize("attention", ["einsum", "rowwise", "blockwise"])
pytestmark = pytest.mark.usefixtures("small_blocks")


def dependence(function, x):
    """[outputs, inputs]: the largest derivative of output position i by input position j; batch of 1."""
    jacobian = jax.jit(jax.jacrev(lambda x: function(x).sum(axis=-1)))(x)  # [1, i, 1, j, embed]
    return np.abs(jacobian[0, :, 0]).max(axis=-1)


@ATTENTIONS
def test_the_decoder_sees_the_past_alone(config, random_params, attention):
    model, length = T5(config, Execution(attention=attention)), 6
    variables, rng = {"params": random_params(model)}, np.random.default_rng(0)
    x = rng.normal(size=(1, length, config.d_model)).astype(np.float32)
    encoded = rng.normal(size=(1, 3, config.d_model)).astype(np.float32)

    def decode(x):
        return model.apply(
            variables,
            x,
            method=lambda model, x: model.decoder(x, encoded, None, jnp.ones((1, 3), int)),
        )

    seen = dependence(decode, x)
    np.testing.assert_array_equal(seen > 0, np.tri(length, dtype=bool))
    assert seen[np.tri(length, dtype=bool)].min() > 1e-4


@ATTENTIONS
def test_the_encoder_sees_every_token_of_its_example(config, random_params, attention):
    model = T5(config, Execution(attention=attention))
    variables, rng = {"params": random_params(model)}, np.random.default_rng(0)
    segments = np.array([[0, 1, 1, 2, 2, 2]], np.int32)
    x = rng.normal(size=(1, segments.size, config.d_model)).astype(np.float32)

    def encode(x):
        return model.apply(variables, x, method=lambda model, x: model.encoder(x, segments))

    seen = dependence(encode, x)
    np.testing.assert_array_equal(seen > 0, segments == segments.T)
    assert seen[segments == segments.T].min() > 1e-4


def rows(config, lengths, width, *, left=False, seed=0):
    """Rows of tokens, padded to `width`: the same tokens on whichever side the padding stands."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((len(lengths), width), np.int32)
    for row, length in zip(tokens, lengths, strict=True):
        where = slice(width - length, width) if left else slice(0, length)
        row[where] = rng.integers(2, config.vocab_size, length)
    return tokens


@ATTENTIONS
def test_padding_and_batch_change_nothing(config, random_params, attention, close):
    """Left = right = no padding, batched = single: encodings and the logits that attend to them."""
    model = T5(config, Execution(attention=attention))
    variables, lengths = {"params": random_params(model)}, (9, 5)
    decoder = rows(config, (4, 4), 4, seed=1)

    @jax.jit
    def run(encoder, decoder):
        encoded = model.apply(variables, encoder, method="encode")
        return encoded, model.apply(variables, encoder, decoder)

    right, logits = run(rows(config, lengths, 9), decoder)
    left, left_logits = run(rows(config, lengths, 9, left=True), decoder)
    close(left_logits, logits)
    for i, length in enumerate(lengths):
        close(left[i, -length:], right[i, :length])
        tokens = rows(config, lengths, 9)[i : i + 1, :length]
        single, single_logits = run(tokens, decoder[i : i + 1])
        close(single[0], right[i, :length])
        close(single_logits[0], logits[i])


@ATTENTIONS
def test_packed_examples_are_as_if_alone(config, random_params, attention, close):
    model = T5(config, Execution(attention=attention))
    variables, rng = {"params": random_params(model)}, np.random.default_rng(3)
    lengths = [
        (5, 3),
        (4, 2),
        (2, 4),
    ]  # encoder and decoder length of each example; a pad behind them
    examples = [tuple(rng.integers(2, config.vocab_size, n) for n in pair) for pair in lengths]

    def packed(side):
        tokens = np.concatenate([example[side] for example in examples])
        ids = np.repeat(np.arange(1, 4), [pair[side] for pair in lengths])
        return tuple(np.pad(x, (0, 2)).astype(np.int32)[None] for x in (tokens, ids))

    (encoder, encoder_ids), (decoder, decoder_ids) = packed(0), packed(1)
    logits = jax.jit(model.apply)(variables, encoder, decoder, encoder_ids, decoder_ids)[0]
    # Alone, every example takes the shape of the packed row: one compilation.
    alone = jax.jit(model.apply)
    start = 0
    for (own_encoder, own_decoder), (_, length) in zip(examples, lengths, strict=True):
        expected = alone(
            variables,
            np.pad(own_encoder, (0, encoder.size - own_encoder.size))[None],
            np.pad(own_decoder, (0, decoder.size - own_decoder.size))[None],
        )
        close(logits[start : start + length], expected[0, :length])
        start += length
    assert np.isfinite(logits).all()
