"""Streaming gives the tokens and the text of the whole call, piece by piece, and says no to beams at once."""

import json
import random

import jax
import numpy as np
import pytest
import sentencepiece
import tokenizers

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stream import Streamer, text_pieces
from t5x_lite.errors import InputError


@pytest.fixture(scope="module")
def streamer(gated_pair):
    return Streamer(gated_pair.config, gated_pair.generator._model.execution)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"max_new_tokens": 40}, marks=pytest.mark.slow),
        {"max_new_tokens": 5, "repetition_penalty": 1.3},
        {"max_new_tokens": 24, "do_sample": True, "temperature": 1.3},
    ],
    ids=["greedy", "processed", "sampled"],
)
def test_tokens_are_those_of_generate(gated_pair, streamer, settings):
    pair, rng = gated_pair, jax.random.key(3)
    settings = GenerationSettings.from_mapping(settings)
    for row in pair.inputs(2, 12, seed=3):
        whole = pair.generator.generate(pair.params, row[None], settings, rng)
        streamed = list(streamer.stream(pair.params, row[None], settings, rng))
        np.testing.assert_array_equal(streamed, whole.tokens[0, : int(whole.lengths[0])])


def test_tokens_come_one_by_one_and_settings_do_not_recompile(gated_pair, streamer):
    inputs = gated_pair.inputs(1, 12)
    first = next(streamer.stream(gated_pair.params, inputs, GenerationSettings(max_new_tokens=9)))
    compiled = streamer.compilations
    for tokens in (9, 30):
        settings = GenerationSettings(max_new_tokens=tokens)
        assert next(streamer.stream(gated_pair.params, inputs, settings)) == first
    assert streamer.compilations == compiled


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 4}, "num_beams = 4: beams have no output before the end"),
        ({"do_sample": True, "num_return_sequences": 2}, "num_return_sequences = 2"),
        ({"do_sample": True}, "sampling needs an rng"),
    ],
)
def test_what_cannot_be_streamed_is_refused_before_compilation(gated_pair, settings, message):
    fresh = Streamer(gated_pair.config, gated_pair.generator._model.execution)
    with pytest.raises(InputError, match=message):  # not only when the first token is asked for
        fresh.stream(
            gated_pair.params, gated_pair.inputs(1, 12), GenerationSettings.from_mapping(settings)
        )
    with pytest.raises(InputError, match=r"\[1, length\]"):
        fresh.stream(gated_pair.params, gated_pair.inputs(2, 12), GenerationSettings())
    assert fresh.compilations == 0


def test_pieces_are_whole_characters_and_together_the_text(tmp_path):
    vocabulary = train_tokenizer(
        ["plain words here and there"],
        tmp_path,
        TrainedTokenizerSettings(
            vocab_size=300,
            algorithm="bpe",
            user_defined_symbols=(),
            extra_ids=0,
            keep_newlines=True,
            byte_fallback=True,
            max_sentences=0,
        ),
    )
    for text in ("here \u263a and\n\u00e4 there", "\u263a", "plain", ""):
        (ids,) = vocabulary.encode([text], add_eos=True)
        pieces = list(text_pieces(ids, vocabulary))
        assert "".join(pieces) == vocabulary.decode([ids])[0] == text
        assert not any("\ufffd" in piece for piece in pieces)
    (ids,) = vocabulary.encode(["words \u263a"], add_eos=False)
    cut = ids[:-1]  # ends within a character
    assert "".join(text_pieces(cut, vocabulary)) == vocabulary.decode([cut])[0]
    # One character whole and the next cut: the whole one has been shown and stays, as SentencePiece decodes it.
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    (ids,) = vocabulary.encode(["\u263a\U0001f600"], add_eos=False)
    for length in range(1, len(ids) + 1):
        whole = pieces.decode(ids[:length])
        assert "".join(text_pieces(ids[:length], vocabulary)) == whole
        assert vocabulary.decode([ids[:length]]) == [whole]
    assert pieces.decode(ids[:-1]) == "\u263a" + 3 * "\ufffd"


@pytest.mark.parametrize("name", ["ByT5Tokenizer", "RobertaTokenizer"])
def test_pieces_of_bytes_are_together_the_text(name, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    if name == "RobertaTokenizer":
        bpe = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        bpe.train_from_iterator(["a b"], 300, special_tokens=special, show_progress=False)
        bpe.save_model(str(tmp_path))
    vocabulary = load_vocabulary(tmp_path)
    rng = random.Random(0)
    for _ in range(100):
        texts = rng.choices(["\u263a", "\U0001f600", "a", " ", "\n", "\ufffd"], k=4)
        ids = [token for ids in vocabulary.encode(texts, add_eos=False) for token in ids]
        del ids[rng.randrange(len(ids)) :: 7]
        pieces = list(text_pieces(ids, vocabulary))
        assert "".join(pieces) == vocabulary.decode([ids])[0]
