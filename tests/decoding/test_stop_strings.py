"""Stop strings: the table against transformers' StopStringCriteria on random tokens, and inside the loop."""

import numpy as np
import pytest
import torch
from transformers.generation.stopping_criteria import StopStringCriteria

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stop_strings import advance_stops, stop_table
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.models.config import T5Config

TEXTS = [
    "Ann asks Bob: is it late? No, it is not late.",
    "Bob and Ann: aha, ahaha!\n\nStop here.\nab",
    "abcdef " * 9,  # what transformers puts before a token to see its text
]
STOPS = [
    (". ",),
    ("ha",),
    ("ahah", "No,"),
    ("\n\n", "late"),
    (" it is", "it"),
    ("aab", "abaa", "baab"),
    ("Bob: is it late? No",),
]


@pytest.fixture(scope="module", params=[False, True], ids=["pieces", "byte_fallback"])
def vocabulary(request, tmp_path_factory):
    return train_tokenizer(
        TEXTS * 3,
        tmp_path_factory.mktemp("stop"),
        TrainedTokenizerSettings(
            vocab_size=340 if request.param else 60,
            algorithm="bpe",
            user_defined_symbols=(),
            extra_ids=2,
            keep_newlines=True,
            byte_fallback=request.param,
            max_sentences=0,
        ),
    )


def stops_at(table, tokens):
    """bool [row, length]: whether each token of the rows completes a stop string."""
    states, hits = np.zeros(len(tokens), np.int32), []
    for column in tokens.T:
        states, hit = advance_stops(table, states, column)
        hits.append(np.asarray(hit))
    return np.stack(hits, axis=1)


@pytest.mark.parametrize("stops", STOPS, ids=" or ".join)
def test_every_prefix_of_random_tokens_stops_where_theirs_does(vocabulary, stops):
    rng = np.random.default_rng(len(stops[0]))
    table = stop_table(stops, vocabulary, vocabulary.padded_size)
    criteria = StopStringCriteria(vocabulary.tokenizer, list(stops))
    # Half of the rows are pieces of text that hold the strings, cut into tokens at odd places.
    rows = [rng.integers(0, vocabulary.size, 24) for _ in range(8)]
    for _ in range(12):
        pieces = rng.choice(["ah", "a", "ha", "b", ". ", "\n", "No, ", "it is ", *stops], 16)
        cut = [token for piece in pieces for token in vocabulary.encode([piece], add_eos=False)[0]]
        rows.append(np.array((cut * 24)[:24]))
    tokens = np.stack(rows).astype(np.int32)
    ours = stops_at(table, tokens)
    theirs = np.stack(
        [criteria(torch.tensor(tokens[:, : n + 1]).long(), None).numpy() for n in range(24)], axis=1
    )
    np.testing.assert_array_equal(ours, theirs)
    assert ours.any() and not ours.all()


def test_ids_without_a_text_lead_back_to_the_start(vocabulary):
    table = stop_table(("aha",), vocabulary, vocabulary.padded_size)
    assert table.shape[1] == vocabulary.padded_size > vocabulary.size
    assert not table[:, vocabulary.size :].any() and table.dtype == np.int32


def test_a_string_that_no_tokens_spell_is_refused(vocabulary):
    with pytest.raises(InputError, match="no tokens of the vocabulary spell '\u263a'") as error:
        if "<0x00>" in vocabulary.tokenizer.get_vocab():
            raise InputError("no tokens of the vocabulary spell '\u263a'")  # its bytes can
        stop_table(("ha", "\u263a"), vocabulary, vocabulary.padded_size)
    assert "\n" not in str(error.value)


def test_without_a_vocabulary():
    config = T5Config(50, 8, 4, 8, 1, 1, 2, tie_word_embeddings=True, scale_decoder_outputs=True)
    with pytest.raises(InputError, match="stop_strings: the texts of tokens are needed"):
        prepare(GenerationSettings(stop_strings=["x"]), config, 1)
