"""What ends a row beside one eos, greedy and beams, against torch's `generate`: several eos ids and stop strings."""

import jax
import numpy as np
import pytest

from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings

WORDS = "one two three four five six seven eight nine ten and or but not so he she it they we"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return train_tokenizer(
        [f"abcdef {WORDS}"] * 9,
        tmp_path_factory.mktemp("ends"),
        vocab_size=90,
        algorithm="bpe",
        user_defined_symbols=(),
        extra_ids=2,
        keep_newlines=True,
        byte_fallback=False,
        max_sentences=0,
    )


@pytest.fixture(scope="module")
def generator(gated_pair, vocabulary):
    return Generator(gated_pair.config, gated_pair.generator._model.execution, vocabulary)


@pytest.fixture(scope="module")
def plain(gated_pair):
    """Greedy outputs, from which the tests take what shall end a row."""
    inputs = gated_pair.inputs(8, 12, seed=21)
    settings = GenerationSettings(max_new_tokens=24)
    return inputs, np.asarray(
        gated_pair.generator.generate(gated_pair.params, inputs, settings).tokens
    )


def compare(pair, generator, inputs, settings, **for_torch):
    ours = generator.generate(
        pair.params, inputs, GenerationSettings.from_mapping({"max_new_tokens": 24, **settings})
    )
    theirs = (
        pair.torch_generate(inputs, max_new_tokens=24, do_sample=False, **settings, **for_torch)
        .sequences[:, 1:]
        .numpy()
    )
    for row, expected in enumerate(theirs):
        length = min(int(ours.lengths[row]), len(expected))
        np.testing.assert_array_equal(ours.tokens[row, :length], expected[:length])
        # Behind the end, transformers fills with pad or with an eos.
        assert set(expected[length:]) <= {0, 1, *np.atleast_1d(settings.get("eos_token_id", 1))}
        assert not np.any(ours.tokens[row, length:])
    return np.asarray(ours.lengths)


@pytest.mark.parametrize("beams", [{}, {"num_beams": 3}, {"num_beams": 2, "early_stopping": True}])
def test_several_eos(gated_pair, generator, plain, beams):
    inputs, tokens = plain
    settings = {"eos_token_id": [1, int(tokens[0, 4]), int(tokens[1, 6])], **beams}
    lengths = compare(gated_pair, generator, inputs, settings)
    assert len(set(lengths)) > 2 and lengths.min() < 24
    if not beams:
        compare(gated_pair, generator, inputs, {**settings, "min_new_tokens": 9})


@pytest.mark.parametrize("beams", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_stop_strings(gated_pair, generator, plain, vocabulary, beams):
    inputs, tokens = plain
    long = [text for text in vocabulary.decode(tokens) if len(text) > 12]
    assert len(long) >= 3
    stops = [text[at : at + 2] for text, at in zip(long, (6, 9, 4), strict=False)]
    compiled = generator.compilations
    lengths = compare(
        gated_pair,
        generator,
        inputs,
        {"stop_strings": stops, **beams},
        tokenizer=vocabulary.tokenizer,
    )
    assert (lengths < 24).sum() >= 2
    assert generator.compilations == compiled + 1
    other = GenerationSettings.from_mapping(
        {"max_new_tokens": 20, "stop_strings": long[0][3:6], **beams}
    )
    generator.generate(gated_pair.params, inputs, other)
    assert generator.compilations == compiled + 1, "other stop strings are data"


def test_sampled_beams_are_repeatable_and_of_their_row(gated_pair, generator):
    pair, rng = gated_pair, jax.random.key(5)
    inputs, ids = pair.inputs(4, 12, seed=4), np.array([3, 9, 27, 81])
    settings = GenerationSettings(
        max_new_tokens=12, num_beams=3, do_sample=True, temperature=1.5, top_k=1
    )
    whole = generator.generate_with_logprobs(pair.params, inputs, settings, rng, row_ids=ids)
    alone = generator.generate(pair.params, inputs[2:3], settings, rng, row_ids=ids[2:3])
    np.testing.assert_array_equal(alone.tokens[0], whole.tokens[2])
    other = generator.generate(pair.params, inputs, settings, jax.random.key(6), row_ids=ids)
    assert not np.array_equal(other.tokens, whole.tokens)
    total = np.sum(whole.processed_logprobs, axis=1) / np.asarray(whole.lengths)
    np.testing.assert_allclose(total, whole.scores, rtol=1e-4)
