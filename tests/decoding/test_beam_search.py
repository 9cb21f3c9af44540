"""Beam search against torch's: hypotheses and their scores."""

import numpy as np
import pytest

from t5x_lite.decoding.settings import GenerationSettings

CASES = [
    {"num_beams": 4, "length_penalty": penalty, "early_stopping": early}
    for penalty in (1.0, 0.0, -1.0, 2.5)
    for early in (False, True, "never")
]
MORE = [
    {"num_beams": 2},
    {"num_beams": 2, "length_penalty": 0.3},
    {"num_beams": 8, "num_return_sequences": 8, "length_penalty": 0.6},
    {"num_beams": 4, "num_return_sequences": 2, "repetition_penalty": 1.5},
    {"num_beams": 4, "min_length": 10, "no_repeat_ngram_size": 2, "length_penalty": 2.0},
    {"num_beams": 3, "bad_words_ids": [[5], [7, 9]], "forced_eos_token_id": 1},
]


def check(pair, settings, inputs, new_tokens):
    """Asserts equal hypotheses; returns rows, and rows excused because both hypotheses score alike."""
    output = pair.generator.generate(
        pair.params,
        inputs,
        GenerationSettings.from_mapping({"max_new_tokens": new_tokens, **settings}),
    )
    theirs = pair.torch_generate(inputs, max_new_tokens=new_tokens, do_sample=False, **settings)
    excused = 0
    sequences = theirs.sequences[:, 1:].numpy()
    for row, expected in enumerate(sequences):
        ended = np.flatnonzero(expected == 1)  # transformers pads beams with eos
        length = ended[0] + 1 if ended.size else len(expected)
        ours = np.asarray(output.tokens[row])
        np.testing.assert_allclose(
            output.scores[row], theirs.sequences_scores[row], rtol=1e-5, atol=1e-4
        )
        if output.lengths[row] != length or not np.array_equal(ours[:length], expected[:length]):
            # Equal scores (just asserted) of different hypotheses: torch's order of them is rounding.
            excused += 1
        else:
            assert not ours[length:].any()
    return len(sequences), excused


@pytest.mark.parametrize("left", [False, True])
def test_length_penalties_and_early_stopping(pair, left):
    rows = excused = 0
    # How early to stop is not the model's affair: T5 1.0 takes one way, T5 1.1 all three.
    cases = [c for c in CASES if not (pair.config.tie_word_embeddings and c["early_stopping"])]
    for number, settings in enumerate(cases):
        inputs = pair.inputs(8, 12, left=left, seed=number)
        counted, doubtful = check(pair, settings, inputs, 16)
        rows, excused = rows + counted, excused + doubtful
    assert excused <= rows // 100


def test_other_widths_returned_sequences_and_processors(gated_pair):
    rows = excused = 0
    for number, settings in enumerate(MORE):
        inputs = gated_pair.inputs(8, 12, seed=100 + number)
        counted, doubtful = check(gated_pair, settings, inputs, 32)
        rows, excused = rows + counted, excused + doubtful
    assert excused <= rows // 100


def test_rows_do_not_depend_on_their_batch(gated_pair):
    pair = gated_pair
    settings = GenerationSettings(max_new_tokens=24, num_beams=4, num_return_sequences=2)
    inputs = pair.inputs(8, 12, seed=7)
    together = pair.generator.generate(pair.params, inputs, settings)
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
