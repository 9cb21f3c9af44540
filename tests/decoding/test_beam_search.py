"""Beam search: rows, when it stops, its scores (test_parity.py compares its tokens with torch's)."""

import numpy as np

from t5x_lite.decoding.settings import GenerationSettings


def test_rows_do_not_depend_on_their_batch_or_padding(gated_pair):
    pair = gated_pair
    settings = GenerationSettings(max_new_tokens=24, num_beams=4, num_return_sequences=2)
    inputs = pair.inputs(8, 12, seed=7)
    together = pair.generator.generate(pair.params, inputs, settings)
    for pads in ((4, 0), (0, 4), (1, 3)):
        padded = pair.generator.generate(pair.params, np.pad(inputs, ((0, 0), pads)), settings)
        np.testing.assert_array_equal(padded.tokens, together.tokens)
    for row in range(8):
        alone = pair.generator.generate(pair.params, inputs[row : row + 1], settings)
        np.testing.assert_array_equal(alone.tokens, together.tokens[2 * row : 2 * row + 2])


def test_stops_early(gated_pair):
    inputs, steps = gated_pair.inputs(8, 12, seed=0), {}
    for early in (True, False, "never"):
        settings = GenerationSettings(
            max_new_tokens=32, num_beams=4, num_return_sequences=2, early_stopping=early
        )
        steps[early] = [
            int(gated_pair.generator.generate(gated_pair.params, row[None], settings).steps)
            for row in inputs
        ]
    assert all(
        t <= f <= n for t, f, n in zip(steps[True], steps[False], steps["never"], strict=True)
    )
    assert min(steps[True]) < 16 and min(steps["never"]) < 32
    assert steps[True] != steps[False] != steps["never"]


def test_logprobs_sum_to_the_score(gated_pair):
    pair = gated_pair
    settings = GenerationSettings(
        max_new_tokens=16, num_beams=4, num_return_sequences=3, length_penalty=0.7
    )
    output = pair.generator.generate(pair.params, pair.inputs(4, 12), settings, with_logprobs=True)
    total = np.sum(output.logprobs, axis=1) / np.asarray(output.lengths) ** 0.7
    np.testing.assert_allclose(total, output.scores, rtol=1e-5)


def test_penalties_do_not_recompile(gated_pair):
    pair = gated_pair
    inputs = pair.inputs(8, 12)
    pair.generator.generate(pair.params, inputs, GenerationSettings(num_beams=4))
    compiled = pair.generator.compilations
    for penalty, new_tokens in ((0.5, 10), (-1.0, 30)):
        settings = GenerationSettings(
            max_new_tokens=new_tokens, num_beams=4, length_penalty=penalty
        )
        pair.generator.generate(pair.params, inputs, settings)
    assert pair.generator.compilations == compiled


def test_places_for_which_there_is_no_other_text_hold_a_text(gated_pair):
    """A forced first token leaves one hypothesis of a token; what is no better than none is a text all the same."""
    settings = GenerationSettings(
        max_new_tokens=1,
        num_beams=3,
        num_return_sequences=3,
        forced_bos_token_id=7,
        length_penalty=0.0,
    )
    output = gated_pair.generator.generate(gated_pair.params, gated_pair.inputs(2, 8), settings)
    assert output.tokens.tolist() == [[7]] * 6
    assert output.lengths.tolist() == [1] * 6
