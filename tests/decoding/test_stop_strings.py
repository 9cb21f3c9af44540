"""Stop strings: the table against transformers' StopStringCriteria on random tokens, and inside the loop."""

import json
import random

import numpy as np
import pytest
import tokenizers
import torch
from transformers.generation.stopping_criteria import StopStringCriteria

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import load_vocabulary
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


@pytest.fixture(scope="module", params=["ByT5Tokenizer", "RobertaTokenizer"])
def spelling_in_bytes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": request.param}))
    if request.param == "RobertaTokenizer":
        bpe = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        texts = ["the caf\u00e9\n\nis here"] * 9
        bpe.train_from_iterator(texts, 290, special_tokens=special, show_progress=False)
        bpe.save_model(str(folder))
    return load_vocabulary(folder)


@pytest.mark.parametrize("stop", ["\n\n", "\u00e9", "\u4e2d", "f\u00e9", "\U0001f600a"])
def test_vocabularies_of_bytes_stop_where_the_text_has_the_string(spelling_in_bytes, stop):
    table = stop_table((stop,), spelling_in_bytes, spelling_in_bytes.padded_size)
    rng = random.Random(0)
    texts = ["x\n\u4e2d\u6587\ny", "\u00e9", "caf\u00e9\n\n", "\U0001f600", "\u4e2d\U0001f600a\n"]
    for text in [*texts, *("".join(rng.choices(texts, k=3)) for _ in range(20))]:
        ids = np.array(spelling_in_bytes.encode([text], add_eos=False), np.int32)
        hits = stops_at(table, ids)[0]
        # A token completes the string where the text up to it, and not that before it, has one more.
        counts = [
            spelling_in_bytes.decode([ids[0, :n]])[0].count(stop) for n in range(len(hits) + 1)
        ]
        assert hits.tolist() == (np.diff(counts) > 0).tolist(), text
    assert hits.dtype == bool and not stops_at(table, np.zeros((1, 3), np.int32)).any()
