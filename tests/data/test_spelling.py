"""What a vocabulary cannot spell is told once a set of texts, counted and with examples."""

import json
import logging
import pathlib

import pytest

from t5x_lite.data.features import make_examples
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary


def warnings_of(caplog, vocabulary: Vocabulary, targets: list[str], dialogue: str = "hi") -> list:
    rows = [{"id": str(n), "dialogue": dialogue, "summary": t} for n, t in enumerate(targets)]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        make_examples(
            rows, vocabulary, template="{dialogue}", target="{summary}", encoder_length=64,
            decoder_length=128, truncation="end", cut_field="dialogue", name="train",
        )  # fmt: skip
    return [record.getMessage() for record in caplog.records]


@pytest.fixture(scope="module")
def t5(shared_data: pathlib.Path) -> Vocabulary:
    return load_vocabulary(shared_data / "t5_vocab")


def test_targets_with_unknown_characters_are_counted_once(t5, caplog):
    targets = ['{"x": "<b>"} ~', "plain", "a <b> c", "日本"]
    (line,) = warnings_of(caplog, t5, targets)
    assert line.startswith("train targets: 3 of 4 have what the vocabulary cannot spell: '<' ")
    assert all(repr(c) in line for c in "{}<~日本") and "'>'" not in line  # T5 has a ">"
    assert "learns <unk> in its place" in line


def test_newlines_of_targets_are_told_and_those_of_prompts_are_not(t5, caplog):
    (line,) = warnings_of(caplog, t5, ["a\nb", "c\td", "e"], dialogue="one\ntwo")
    assert "train targets: 2 of 3 have" in line and r"'\n'" in line and r"'\t'" in line
    assert "learns a space in its place" in line


def test_prompts_have_a_line_of_their_own(t5, caplog):
    (line,) = warnings_of(caplog, t5, ["fine"] * 2, dialogue="a { b")
    assert line.startswith("train inputs: 2 of 2 have what the vocabulary cannot spell: '{';")


def test_nothing_is_said_where_all_is_spelt(t5, caplog, tmp_path):
    assert warnings_of(caplog, t5, ["It's 5 o'clock; (really?)"]) == []
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "ByT5Tokenizer"})
    )
    odd = ["{a}\n<b>\t日本"]
    assert warnings_of(caplog, load_vocabulary(tmp_path), odd, odd[0]) == []
    section = TrainedTokenizerSettings(
        vocab_size=310, algorithm="bpe", user_defined_symbols=("\t",), extra_ids=2, keep_newlines=True,
        byte_fallback=True, max_sentences=0,
    )  # fmt: skip
    spelling = train_tokenizer(
        ["some words to learn from, more words"], tmp_path / "trained", section
    )
    assert warnings_of(caplog, spelling, odd, odd[0]) == []


def test_words_that_are_unknown_only_whole_are_shown_whole(caplog, tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hi", "a", "b", "##b"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.encode(["abb"], add_eos=False) == [[6, 8, 8]]
    (line,) = warnings_of(caplog, vocabulary, ["aba", "ab"])  # there is no ##a
    assert "1 of 2 have what the vocabulary cannot spell: 'aba';" in line
