import hashlib
import json
import pathlib

import pytest
import sentencepiece
import transformers

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.sources import load_rows
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError

SETTINGS = dict(
    vocab_size=600,
    algorithm="unigram",
    user_defined_symbols=("#Person1#", "#Person2#"),
    extra_ids=20,
    keep_newlines=True,
    byte_fallback=False,
    max_sentences=0,
)
EVERY_KIND = [(a, b) for a in ("unigram", "bpe") for b in (False, True)]

# Whatever can differ between two tokenizers: spaces, symbols within words, unknown characters, normalization.
ODD_TEXTS = [
    "",
    " ",
    "\n",
    " \n \n",
    "#Person1#: Hello,  there!\n#Person2#'s dog \n\n  ran. ",
    "##Person1## #Person1 Person1# x#Person2#y#Person1##Person2#",
    "\tTabs\tand\u00a0hard spaces\u3000wide",
    "naïve ﬁancée ½ … “quotes” — ☃ 日本語 ①",
    "{braces} <b>tags</b> 100 % a/b",
    "aaaaaaaaaaaaaaaa hhhhh ......",
    "UPPER lower MiXeD",
    "\u2581 a visible\u2581block",
]


def texts_of_bundled() -> list[str]:
    columns = {"dialogue": "dialogue", "summary": "summary"}
    rows = load_rows("bundled", "", columns, id_column="id", exclude="", limit=300)
    texts = [row[field] for row in rows for field in columns]
    return [text + "\n#Person1#: I see.\n#Person2#: So do I." for text in texts]


@pytest.fixture(scope="module", params=EVERY_KIND, ids=str)
def trained(request, tmp_path_factory):
    algorithm, byte_fallback = request.param
    directory = tmp_path_factory.mktemp("tokenizer")
    settings = SETTINGS | {"algorithm": algorithm, "byte_fallback": byte_fallback}
    return (
        directory,
        train_tokenizer(texts_of_bundled(), directory, TrainedTokenizerSettings(**settings)),
        settings,
    )


def test_t5_layout(trained):
    directory, vocabulary, _ = trained
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert (vocabulary.size, vocabulary.padded_size) == (600, 640)
    assert vocabulary.sentinel_ids == list(range(599, 579, -1))
    symbols = vocabulary.encode(["\n", "#Person1#", "#Person2#"], add_eos=False)
    # One token each; SentencePiece marks the start of a text with a space.
    assert [ids[-1] for ids in symbols] == [3, 4, 5]
    model = sentencepiece.SentencePieceProcessor(model_file=str(directory / "spiece.model"))
    assert model.vocab_size() == 580
    assert [model.pad_id(), model.eos_id(), model.unk_id(), model.bos_id()] == [0, 1, 2, -1]
    names = {path.name for path in directory.iterdir()}
    assert names == {
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }


def test_sentencepiece_and_fast_tokenizer_agree(trained):
    directory, vocabulary, _ = trained
    model = sentencepiece.SentencePieceProcessor(model_file=str(directory / "spiece.model"))
    for text in ODD_TEXTS + texts_of_bundled():
        assert vocabulary.encode([text], add_eos=False) == [model.encode(text)], repr(text)


def test_newlines_and_symbols_survive_a_round_trip(trained):
    _, vocabulary, _ = trained
    for text in texts_of_bundled():
        assert vocabulary.decode(vocabulary.encode([text], add_eos=True)) == [text]


def test_byte_fallback_spells_what_it_does_not_know(trained):
    _, vocabulary, settings = trained
    (ids,) = vocabulary.encode(["snow ☃ man"], add_eos=True)
    if settings["byte_fallback"]:
        assert vocabulary.unk_id not in ids
        assert vocabulary.decode([ids]) == ["snow ☃ man"]
    else:
        assert ids.count(vocabulary.unk_id) == 1


def test_transformers_reads_it_offline_beside_a_t5_config(trained, tmp_path):
    directory, vocabulary, _ = trained
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 640}))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "#Person1#: Hello\n#Person2#: <extra_id_0> there"
    assert tokenizer(text).input_ids == vocabulary.encode([text], add_eos=True)[0]
    assert vocabulary.sentinel_ids[0] in tokenizer(text).input_ids
    assert len(tokenizer) == 600
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "</s>")
    vocabulary.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    assert again.encode(ODD_TEXTS, add_eos=True) == vocabulary.encode(ODD_TEXTS, add_eos=True)
    assert again.sentinel_ids == vocabulary.sentinel_ids


def test_same_texts_give_the_same_bytes(trained, tmp_path):
    directory, _, settings = trained
    train_tokenizer(texts_of_bundled(), tmp_path, TrainedTokenizerSettings(**settings))
    for path in sorted(directory.iterdir()):
        digests = [
            hashlib.sha256((d / path.name).read_bytes()).digest() for d in (directory, tmp_path)
        ]
        assert digests[0] == digests[1], path.name


def test_without_keep_newlines_they_fold_to_spaces(tmp_path):
    texts = texts_of_bundled()
    vocabulary = train_tokenizer(
        texts, tmp_path, TrainedTokenizerSettings(**SETTINGS | {"keep_newlines": False})
    )
    assert vocabulary.decode(vocabulary.encode(["I see.\nSo do I."], add_eos=True)) == [
        "I see. So do I."
    ]
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for text in ODD_TEXTS + texts:
        assert vocabulary.encode([text], add_eos=False) == [model.encode(text)], repr(text)


def test_the_longest_symbol_wins(tmp_path):
    symbols = ("#Person1#", "#Person1#:", "#Person2#")
    settings = SETTINGS | {"user_defined_symbols": symbols}
    vocabulary = train_tokenizer(texts_of_bundled(), tmp_path, TrainedTokenizerSettings(**settings))
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for text in ("#Person1#: Hi", "#Person2#: Hi #Person1# #Person1#:"):
        assert vocabulary.encode([text], add_eos=False) == [model.encode(text)]
    (ids,) = vocabulary.encode(["#Person1#: Hi"], add_eos=False)
    assert vocabulary.tokenizer.convert_ids_to_tokens(ids)[1] == "#Person1#:"


def test_texts_of_any_length_are_learned_from(tmp_path):
    long_text = "They walked home and talked. " * 500 + "☃"
    vocabulary = train_tokenizer(
        [*texts_of_bundled(), long_text], tmp_path, TrainedTokenizerSettings(**SETTINGS)
    )
    assert vocabulary.unk_id not in vocabulary.encode(["☃"], add_eos=False)[0]


def test_max_sentences_takes_the_first(tmp_path):
    texts = texts_of_bundled()
    for name, chosen, limit in (("a", texts, 40), ("b", texts[:40], 0)):
        settings = SETTINGS | {"max_sentences": limit, "vocab_size": 400}
        train_tokenizer(chosen, tmp_path / name, TrainedTokenizerSettings(**settings))
    models = [(tmp_path / name / "spiece.model").read_bytes() for name in ("a", "b")]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "wordpiece"}, "tokenizer.algorithm must be one of .* got 'wordpiece'"),
        ({"vocab_size": 90_000}, "tokenizer.vocab_size: SentencePiece cannot make 89980 pieces"),
        ({"vocab_size": 40}, "tokenizer.vocab_size: SentencePiece cannot make 20 pieces"),
        ({"user_defined_symbols": ("ﬁ",)}, "'ﬁ' does not survive normalization"),
        ({"user_defined_symbols": ("a  b",)}, "'a  b' does not survive normalization"),
    ],
    ids=str,
)
def test_bad_settings_are_one_line_errors(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        train_tokenizer(
            texts_of_bundled(), tmp_path, TrainedTokenizerSettings(**SETTINGS | changes)
        )
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="there is no text to train on"):
        train_tokenizer(["", " \n"], tmp_path, TrainedTokenizerSettings(**SETTINGS))


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_agreement_on_real_dialogues(algorithm, shared_data: pathlib.Path, tmp_path):
    columns = {"dialogue": "dialogue", "summary": "summary"}
    path = str(shared_data / "dialogsum" / "dialogsum.train.jsonl")
    rows = load_rows(path, "", columns, id_column="fname", exclude="", limit=2000)
    texts = [row[field] for row in rows for field in columns]
    settings = SETTINGS | {"vocab_size": 4096, "extra_ids": 100, "algorithm": algorithm}
    vocabulary = train_tokenizer(texts[:2000], tmp_path, TrainedTokenizerSettings(**settings))
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    expected = model.encode(texts)
    ours = vocabulary.encode(texts, add_eos=False)
    assert [i for i in range(len(texts)) if ours[i] != expected[i]] == []
    characters_per_token = sum(map(len, texts)) / sum(map(len, ours))
    assert characters_per_token > 3


def test_half_a_surrogate_pair_is_learned_as_the_replacement_character(tmp_path):
    texts = ["some words \ud83d and more", "other words", "\udc00"] * 5
    settings = SETTINGS | {"vocab_size": 40, "byte_fallback": False}
    vocabulary = train_tokenizer(texts, tmp_path, TrainedTokenizerSettings(**settings))
    assert vocabulary.decode(vocabulary.encode(["some words"], add_eos=True)) == ["some words"]
