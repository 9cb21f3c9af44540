"""Decoding position by position with a cache gives the hidden states of the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5

BATCH, BEAMS, ENCODER_LENGTH, LENGTH = 2, 2, 5, 7


def test_cached_equals_uncached(family_config, random_params, close):
    """With beams: the encodings stay at [batch], the decoded rows are batch x beams. And with padding on the left."""
    config = family_config
    model = T5(config, Execution(attention="einsum"))
    variables, rng = {"params": random_params(model)}, np.random.default_rng(0)
    encoder = rng.integers(2, config.vocab_size, (BATCH, ENCODER_LENGTH)).astype(np.int32)
    encoder[1, :2] = 0
    decoder = rng.integers(2, config.vocab_size, (BATCH * BEAMS, LENGTH)).astype(np.int32)
    segment_ids = (encoder != 0).astype(np.int32)

    @jax.jit
    def uncached(encoder, segment_ids, decoder):
        encoded = model.apply(variables, encoder, segment_ids, method="encode")
        copied = (jnp.repeat(x, BEAMS, axis=0) for x in (encoded, segment_ids))
        hidden = model.apply(variables, decoder, *copied, method="decode")
        cross = model.apply(variables, encoded, method="cross_key_values")
        return hidden, model.apply(variables, hidden, method="project"), cross

    @jax.jit
    def step(tokens, position, cache, cross, segment_ids):
        hidden, cache = model.apply(
            variables, tokens, position, cache, cross, segment_ids, method="decode_step"
        )
        return hidden, model.apply(variables, hidden, method="project"), cache

    expected_hidden, expected_logits, cross = uncached(encoder, segment_ids, decoder)
    assert cross[0]["key"].shape == (BATCH, config.num_heads, ENCODER_LENGTH, config.d_kv)
    # What lies behind the current position must not matter: fill it with noise instead of zeros.
    shape = (BATCH * BEAMS, config.num_heads, LENGTH + 3, config.d_kv)
    cache = tuple(
        {name: rng.normal(size=shape).astype(np.float32) for name in ("key", "value")}
        for _ in range(config.num_decoder_layers)
    )
    for position in range(LENGTH):
        tokens = decoder[:, position : position + 1]
        hidden, logits, cache = step(tokens, np.int32(position), cache, cross, segment_ids)
        close(hidden[:, 0], expected_hidden[:, position])
        close(logits[:, 0], expected_logits[:, position])


def test_rows_may_be_at_positions_of_their_own(family_config, random_params, close):
    """A row that began later than another gets what it gets beside rows that began with it."""
    config = family_config
    model = T5(config, Execution(attention="einsum"))
    variables, rng = {"params": random_params(model)}, np.random.default_rng(1)
    encoder = rng.integers(2, config.vocab_size, (3, ENCODER_LENGTH)).astype(np.int32)
    decoder = rng.integers(2, config.vocab_size, (3, LENGTH)).astype(np.int32)
    segment_ids = np.ones_like(encoder)
    encoded = model.apply(variables, encoder, segment_ids, method="encode")
    cross = model.apply(variables, encoded, method="cross_key_values")
    expected = model.apply(variables, decoder, encoded, segment_ids, method="decode")
    step = jax.jit(
        lambda tokens, position, cache: model.apply(
            variables, tokens, position, cache, cross, segment_ids, method="decode_step"
        )
    )
    shape = (3, config.num_heads, LENGTH + 3, config.d_kv)
    cache = tuple(
        {name: rng.normal(size=shape).astype(np.float32) for name in ("key", "value")}
        for _ in range(config.num_decoder_layers)
    )
    begins, seen = np.array([0, 2, 3]), 0
    for turn in range(LENGTH + 3):
        position = np.clip(turn - begins, 0, LENGTH - 1).astype(np.int32)
        hidden, cache = step(decoder[np.arange(3), position][:, None], position, cache)
        for row in np.flatnonzero((turn >= begins) & (turn - begins < LENGTH)):
            close(hidden[row, 0], expected[row, position[row]])
            seen += 1
    assert seen == 3 * LENGTH
