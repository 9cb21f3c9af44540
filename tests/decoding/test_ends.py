"""Stop strings are data, and sampled beams are repeatable (test_parity.py compares what ends a row with torch's)."""

import jax
import numpy as np
import pytest

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings

WORDS = "one two three four five six seven eight nine ten and or but not so he she it they we"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return train_tokenizer(
        [f"abcdef {WORDS}"] * 9,
        tmp_path_factory.mktemp("ends"),
        TrainedTokenizerSettings(
            vocab_size=90,
            algorithm="bpe",
            user_defined_symbols=(),
            extra_ids=2,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
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


@pytest.mark.parametrize("beams", [{}, {"num_beams": 3, "num_return_sequences": 2}])
def test_other_stop_strings_do_not_recompile(gated_pair, generator, plain, vocabulary, beams):
    inputs, tokens = plain
    long = [text for text in vocabulary.decode(tokens) if len(text) > 12]
    compiled = generator.compilations
    ended = []
    for stops in ([text[at : at + 2] for text, at in zip(long, (6, 9, 4), strict=False)], "xx"):
        settings = {"max_new_tokens": 24, "stop_strings": stops, **beams}
        output = generator.generate(
            gated_pair.params, inputs, GenerationSettings.from_mapping(settings)
        )
        ended.append(int((np.asarray(output.lengths) < 24).sum()))
    assert generator.compilations == compiled + 1
    assert ended[0] > ended[1]


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
