"""A classifier's tokens are those of its tokenizer, which it shares and leaves as it is."""

import json
import logging

import pytest
import transformers

from t5x_lite.data.classifier_text import (
    ClassifierTokenizer,
    load_classifier_tokenizer,
    of_vocabulary,
    with_first_token,
)
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError

TEXTS = ["a word", "", "some more words\nand a few others, then the end of it"]


@pytest.fixture
def vocabulary(tmp_path):
    section = TrainedTokenizerSettings(
        vocab_size=30, algorithm="unigram", user_defined_symbols=("[CLS]",),
        extra_ids=3, keep_newlines=True, byte_fallback=False, max_sentences=0,
    )  # fmt: skip
    return train_tokenizer(TEXTS * 3, tmp_path / "t5", section)


def test_cutting_changes_no_setting_of_the_shared_tokenizer(vocabulary, tmp_path):
    before = vocabulary.encode(TEXTS, add_eos=True)
    classifier = of_vocabulary(vocabulary, 6)
    cut = classifier.encode(TEXTS)
    assert [len(ids) for ids in cut] == [min(6, len(ids)) for ids in before] and len(before[2]) > 6
    assert vocabulary.encode(TEXTS, add_eos=True) == before
    classifier.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())
    assert saved["truncation"] is None and saved["padding"] is None
    assert load_vocabulary(tmp_path / "saved").encode(TEXTS, add_eos=True) == before


def roberta(folder):
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefgh", "\u0120"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.RobertaTokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [2, 3, 7, 50])
def test_cut_texts_are_those_of_transformers(length, side, tmp_path, caplog):
    tokenizer = roberta(tmp_path / "r")
    tokenizer.truncation_side = side
    texts = ["a bcd efgh ab", "", "abc"]
    with caplog.at_level(logging.WARNING):
        ours = ClassifierTokenizer(tokenizer, length).encode(texts)
    lost = "start" if side == "left" else "end"
    assert (f"lose their {lost}" in caplog.text) == (length < 15)
    theirs = tokenizer(texts, truncation=True, max_length=length).input_ids
    assert ours == theirs


def test_first_and_last_tokens_stay(vocabulary):
    first = vocabulary.tokenizer.convert_tokens_to_ids("[CLS]")
    for ids in with_first_token(vocabulary, 5).encode(TEXTS):
        assert ids[0] == first and ids[-1] == vocabulary.eos_id and len(ids) <= 5


def test_half_a_surrogate_pair_is_read(vocabulary):
    classifier = of_vocabulary(vocabulary, 20)
    assert classifier.encode(["a \ud83d"]) == classifier.encode(["a \ufffd"])
    with pytest.raises(InputError, match="texts: expected strings, got int 3"):
        classifier.encode([3])  # type: ignore[list-item]


def test_a_t5s_tokenizer_is_read_as_its_files_say(vocabulary, tmp_path):
    """With its newlines; transformers' T5Tokenizer makes them spaces."""
    vocabulary.save(tmp_path / "saved")
    file = tmp_path / "saved" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "T5Tokenizer"}))
    loaded = load_classifier_tokenizer(tmp_path / "saved", 50)
    assert loaded.encode(TEXTS) == vocabulary.encode(TEXTS, add_eos=True)
    with pytest.raises(InputError, match="cannot load the classifier's tokenizer"):
        load_classifier_tokenizer(tmp_path, 50)
