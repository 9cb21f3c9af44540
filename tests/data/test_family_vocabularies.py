"""The tokenizers of mT5, UMT5 (small SentencePiece models in their layouts) and ByT5, offline, from directories."""

import json
import pathlib
import random

import pytest
import sentencepiece
import transformers

from t5x_lite.data.byte_vocabulary import ByteVocabulary
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError

WORDS = (
    "the a cat dog runs over green hills and valleys 日本 語 Straße naïve café привет мир".split()
)
TEXTS = ["the cat runs", "zażółć ☃ dog 🦙", "naïve  café\nand", "", " over ", "Ünïcode ﬁne"]


def train(folder: pathlib.Path, sentinels: int) -> sentencepiece.SentencePieceProcessor:
    """spiece.model of a unigram vocabulary that spells unknown characters in bytes."""
    rng = random.Random(0)
    folder.mkdir()
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(" ".join(rng.choices(WORDS, k=8)) for _ in range(300)),
            model_writer=file,
            vocab_size=340,
            hard_vocab_limit=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            byte_fallback=True,
            user_defined_symbols=[f"▁<extra_id_{i}>" for i in reversed(range(sentinels))],
            num_threads=1,
            minloglevel=2,
        )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))


def settings_of(folder: pathlib.Path, model_type: str, **fields) -> None:
    """tokenizer_config.json and the model's config.json, which transformers looks at, too."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special | fields))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


@pytest.mark.parametrize("with_settings", [True, False])
def test_mt5_has_its_sentinels_among_its_pieces(tmp_path, with_settings):
    pieces = train(tmp_path / "mt5", sentinels=10)
    if with_settings:
        settings_of(tmp_path / "mt5", "mt5", tokenizer_class="T5Tokenizer", extra_ids=0)
    vocabulary = load_vocabulary(tmp_path / "mt5")
    assert vocabulary.size == pieces.get_piece_size()
    assert vocabulary.sentinel_ids == [pieces.piece_to_id(f"▁<extra_id_{i}>") for i in range(10)]
    texts = [*TEXTS, "<extra_id_0> the <extra_id_1>"]
    assert vocabulary.encode(texts, add_eos=False) == [pieces.encode(text) for text in texts]


def test_umt5_has_its_sentinels_above_its_pieces(tmp_path):
    pieces = train(tmp_path / "umt5", sentinels=0)
    settings_of(tmp_path / "umt5", "umt5", tokenizer_class="T5Tokenizer", extra_ids=300)
    vocabulary = load_vocabulary(tmp_path / "umt5")
    size = pieces.get_piece_size()
    assert vocabulary.size == size + 300
    assert vocabulary.sentinel_ids == list(range(size + 299, size - 1, -1))
    assert vocabulary.encode(TEXTS, add_eos=True) == [[*pieces.encode(text), 1] for text in TEXTS]
    decoded = vocabulary.decode(vocabulary.encode(TEXTS, add_eos=True))
    assert decoded == [pieces.decode(pieces.encode(text)) for text in TEXTS]


def test_what_is_saved_spells_in_bytes_still(tmp_path):
    pieces = train(tmp_path / "umt5", sentinels=0)
    settings_of(tmp_path / "umt5", "umt5", tokenizer_class="T5Tokenizer", extra_ids=20)
    first = load_vocabulary(tmp_path / "umt5")
    first.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    assert again.encode(TEXTS, add_eos=False) == [pieces.encode(text) for text in TEXTS]
    sentinels = again.sentinel_ids
    assert sentinels == first.sentinel_ids and len(sentinels) == 20
    assert again.decode([[sentinels[0], *pieces.encode("the dog"), 1]]) == ["the dog"]


@pytest.fixture
def byt5_directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """As the hub's ByT5 directories: no vocabulary file at all."""
    settings_of(tmp_path, "t5", tokenizer_class="ByT5Tokenizer", extra_ids=125)
    return tmp_path


BYTE_TEXTS = [*TEXTS, "a <extra_id_0> b</s>  x", "1 < 2", "\x00\t~\x7f", "<pad> <unk>"]


def test_byt5_spells_in_bytes(byt5_directory):
    vocabulary, theirs = load_vocabulary(byt5_directory), transformers.ByT5Tokenizer()
    assert isinstance(vocabulary, ByteVocabulary)
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.size == vocabulary.padded_size == 384
    expected = [theirs(text, add_special_tokens=False).input_ids for text in BYTE_TEXTS]
    assert vocabulary.encode(BYTE_TEXTS, add_eos=False) == expected
    assert vocabulary.encode(["hé"], add_eos=True) == [[107, 198, 172, 1]]
    until_eos = [ids[: ids.index(1)] if 1 in ids else ids for ids in expected]
    plain = [[token for token in ids if 3 <= token < 259] for ids in until_eos]
    assert vocabulary.decode(expected) == [theirs.decode(ids) for ids in plain]


def test_byt5_decodes_what_a_model_may_produce(byt5_directory):
    vocabulary = load_vocabulary(byt5_directory)
    (ids,) = vocabulary.encode(["né"], add_eos=False)
    assert vocabulary.decode([[0, *ids, 1, *ids], ids[:-1], [383, 258, *ids, 400], [1], []]) == [
        "né",
        "n",  # half of a character
        "né",
        "",
        "",
    ]


def test_byt5_sentinels_are_in_no_text(byt5_directory):
    vocabulary = load_vocabulary(byt5_directory)
    sentinels = vocabulary.sentinel_ids
    assert sentinels[:11] == list(range(258, 247, -1)) and len(set(sentinels)) == 11 + 125
    every_character = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000, 7), 0x10FFFF]))
    assert not set(vocabulary.encode([every_character], add_eos=False)[0]) & set(sentinels)


def test_byt5_boundaries_are_those_of_characters(byt5_directory):
    vocabulary = load_vocabulary(byt5_directory)
    assert vocabulary.boundaries("aé☃") == [(0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (2, 3)]


def test_byt5_saved_is_the_same(byt5_directory, tmp_path):
    load_vocabulary(byt5_directory).save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    assert isinstance(again, ByteVocabulary) and again.size == 384
    assert again.encode(["né"], add_eos=True) == [[113, 198, 172, 1]]


def test_a_directory_that_names_another_class_has_no_vocabulary(tmp_path):
    settings_of(tmp_path, "t5", tokenizer_class="T5Tokenizer")
    with pytest.raises(InputError, match="neither tokenizer.json nor spiece.model"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize("text", ["a", "a</s>", "</s>", "", "a </s> b"])
def test_bytes_end_once_as_in_transformers(text):
    tokenizer = transformers.ByT5Tokenizer()
    assert ByteVocabulary(tokenizer).encode([text], add_eos=True) == [tokenizer(text).input_ids]
