"""Greedy decoding against torch's `generate`, against no cache, and against itself in other batches."""

import jax
import numpy as np
import pytest

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.t5 import T5

MARGIN = 1e-4  # below this, torch's own choice between its two best tokens is rounding


def differences(ours: np.ndarray, torch_output) -> tuple[list[str], int]:
    """Rows that differ although torch's choice was clear, and the number of rows excused because it was not."""
    theirs = torch_output.sequences[:, 1:].numpy()
    wrong, excused = [], 0
    for row in range(len(theirs)):
        padded = np.pad(theirs[row], (0, ours.shape[1] - theirs.shape[1]))
        unequal = np.flatnonzero(padded != ours[row])
        if not unequal.size:
            continue
        best = torch_output.scores[unequal[0]][row].topk(2).values
        if float(best[0] - best[1]) < MARGIN:
            excused += 1
        else:
            wrong.append(f"row {row} at {unequal[0]}: {ours[row]} against {padded}")
    return wrong, excused


@pytest.mark.parametrize("left", [False, True])
def test_tokens_equal_torch(pair, left):
    rows = excused = ended = 0
    lengths = set()
    settings = GenerationSettings(max_new_tokens=64)
    for batch, seed in ((8, 0), (8, 1), (1, 2), (1, 3)):
        inputs = pair.inputs(batch, 12, left=left, seed=seed)
        output = pair.generator.generate(pair.params, inputs, settings)
        wrong, doubtful = differences(
            np.asarray(output.tokens),
            pair.torch_generate(inputs, max_new_tokens=64, do_sample=False),
        )
        assert not wrong
        excused += doubtful
        rows += batch
        tokens, row_lengths = np.asarray(output.tokens), np.asarray(output.lengths)
        for row, length in zip(tokens, row_lengths, strict=True):
            assert (row[length:] == 0).all() and (row[length - 1] == 1 or length == 64)
            ended += int(row[length - 1] == 1)
            lengths.add(int(length))
    assert excused <= rows // 100
    assert ended >= rows / 2 and len(lengths) >= 5, (
        "the model must end rows by eos, at varied lengths"
    )


@pytest.mark.parametrize(
    "processors",
    [
        {"repetition_penalty": 1.7, "no_repeat_ngram_size": 1},
        {"min_length": 12, "no_repeat_ngram_size": 2},
        {"min_new_tokens": 20, "no_repeat_ngram_size": 3, "repetition_penalty": 1.2},
        {"forced_bos_token_id": 9, "forced_eos_token_id": 1, "begin_suppress_tokens": [4, 5]},
        {"bad_words_ids": "of the plain output", "suppress_tokens": [11, 12]},
    ],
    ids="+".join,
)
def test_processed_tokens_equal_torch(gated_pair, processors):
    pair, inputs = gated_pair, gated_pair.inputs(8, 12, seed=4)
    plain = GenerationSettings(max_new_tokens=24)
    unprocessed = np.asarray(pair.generator.generate(pair.params, inputs, plain).tokens)
    if "bad_words_ids" in processors:
        words = [unprocessed[0, :1], unprocessed[2, 1:3], unprocessed[3, 2:5]]
        processors = processors | {"bad_words_ids": [word.tolist() for word in words]}
    settings = GenerationSettings.from_mapping({"max_new_tokens": 24, **processors})
    ours = np.asarray(pair.generator.generate(pair.params, inputs, settings).tokens)
    assert not np.array_equal(ours, unprocessed), "the case shows nothing"
    theirs = pair.torch_generate(inputs, max_new_tokens=24, do_sample=False, **processors)
    wrong, excused = differences(ours, theirs)
    assert not wrong and not excused


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
