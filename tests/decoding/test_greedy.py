"""Greedy decoding against no cache, and against itself in other batches (test_parity.py has torch's tokens)."""

import jax
import numpy as np

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.t5 import T5


def test_cached_equals_uncached(pair):
    inputs, length = pair.inputs(4, 12, seed=5), 20
    model, variables = T5(pair.config, pair.generator._model.execution), {"params": pair.params}
    decoder_inputs = np.zeros((4, length + 1), np.int32)
    expected_logprobs = np.zeros((4, length), np.float32)
    apply = jax.jit(model.apply)
    for step in range(length):
        logits = np.asarray(apply(variables, inputs, decoder_inputs[:, :length]))[:, step]
        decoder_inputs[:, step + 1] = np.argmax(logits, axis=-1)
        shifted = logits - np.max(logits, axis=-1, keepdims=True)
        normalized = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
        expected_logprobs[:, step] = np.max(normalized, axis=-1)
    output = pair.generator.generate(
        pair.params, inputs, GenerationSettings(max_new_tokens=length), with_logprobs=True
    )
    inside = np.arange(length)[None] < np.asarray(output.lengths)[:, None]
    np.testing.assert_array_equal(output.tokens, np.where(inside, decoder_inputs[:, 1:], 0))
    np.testing.assert_allclose(output.logprobs, np.where(inside, expected_logprobs, 0.0), atol=2e-5)


def test_rows_do_not_depend_on_their_batch_or_padding(gated_pair):
    pair = gated_pair
    settings = GenerationSettings(max_new_tokens=64)
    right = pair.inputs(8, 12, seed=6)
    together = np.asarray(pair.generator.generate(pair.params, right, settings).tokens)
    left = np.stack([np.roll(row, 12 - np.count_nonzero(row)) for row in right])
    longer = np.pad(right, ((0, 0), (0, 4)))
    for inputs in (left, longer):
        np.testing.assert_array_equal(
            pair.generator.generate(pair.params, inputs, settings).tokens, together
        )
    for row in range(8):
        alone = pair.generator.generate(pair.params, right[row : row + 1], settings)
        np.testing.assert_array_equal(alone.tokens[0], together[row])


def test_stops_when_all_rows_are_done(gated_pair):
    pair = gated_pair
    inputs = pair.inputs(8, 12, seed=0)
    settings = GenerationSettings(max_new_tokens=64)
    output = pair.generator.generate(pair.params, inputs, settings)
    assert output.steps == np.max(output.lengths)
    short = inputs[np.asarray(output.lengths) < 30]
    assert len(short) >= 2
    output = pair.generator.generate(pair.params, short, settings)
    assert output.steps == np.max(output.lengths) < 30


def test_a_limit_for_each_row(gated_pair):
    pair = gated_pair
    inputs, limits = pair.inputs(4, 12, seed=8), [3, 20, 7, 12]
    output = pair.generator.generate(
        pair.params, inputs, GenerationSettings(max_new_tokens=np.array(limits))
    )
    whole = pair.generator.generate(pair.params, inputs, GenerationSettings(max_new_tokens=20))
    for row, limit in enumerate(limits):
        np.testing.assert_array_equal(output.tokens[row, :limit], whole.tokens[row, :limit])
        assert not np.any(output.tokens[row, limit:])
    np.testing.assert_array_equal(output.lengths, np.minimum(whole.lengths, limits))
