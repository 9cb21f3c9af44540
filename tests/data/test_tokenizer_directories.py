"""Directories of tokenizers as the world has them: ids, texts and sizes against SentencePiece, a slow reading of
added tokens, and transformers.
"""

import json
import pathlib
import random

import pytest
import sentencepiece
import tokenizers
import transformers

from t5x_lite.data.tokenizer_json import read_backend
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary, tell_differing_ids
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import BUNDLED

WORDS = (
    "the a cat dog runs over green hills and valleys 日本 語 Straße naïve café привет мир def add return hello my"
).split()
CODE = ["def add(a):\n    return {a}", "x = [1, 2]"]
ODD = [
    *WORDS, *"{ } < > ~ . , \n \t".split(" "), "\n\n", "  ", "🦙", "e\u0301", "ﬁ", "｛", "\u3000", "\u00a0", "\u200b",
    "\ufffd", "한국", "I'm", ":)", "x", "cats", "theory",
]  # fmt: skip
T5 = {
    "tokenizer_class": "T5Tokenizer", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
    "extra_ids": 100,
}  # fmt: skip


def odd_texts(*more: str, number: int = 200) -> list[str]:
    rng = random.Random(number)
    pieces, glue = [*ODD, *more], ["", " ", "", " ", "\n"]
    made = [
        "".join(rng.choice(pieces) + rng.choice(glue) for _ in range(rng.randint(1, 9)))
        for _ in range(number)
    ]
    return ["", " ", "hello my cat", " hello ", "x\n中文\ny", *made]


def train(
    folder: pathlib.Path, name: str = "spiece.model", **options
) -> sentencepiece.SentencePieceProcessor:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=8)) for _ in range(300)]
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, hard_vocab_limit=False, num_threads=1, minloglevel=2,
            **{"vocab_size": 120, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1} | options,
        )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / name))


def say(folder: pathlib.Path, file: str = "tokenizer_config.json", **fields) -> None:
    (folder / file).write_text(json.dumps(fields))


def by_hand(pieces, added: dict[str, int], text: str) -> list[int]:
    """What transformers 4's slow T5Tokenizer does: added tokens first, longest first; SentencePiece between them."""
    ids, start, at = [], 0, 0
    while at < len(text):
        name = max((n for n in added if text.startswith(n, at)), key=len, default=None)
        if name is None:
            at += 1
            continue
        ids += [*pieces.encode(text[start:at]), added[name]]
        at = start = at + len(name)
    return ids + pieces.encode(text[start:])


LAYOUTS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "unk 0, eos 2, pad 1": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    "unk 3, eos 2, pad 1": {"unk_id": 3, "bos_id": 0, "eos_id": 2, "pad_id": 1},
    "bytes": {"vocab_size": 400, "byte_fallback": True},
    "bpe with bytes": {"vocab_size": 400, "byte_fallback": True, "model_type": "bpe"},
    "symbols": {"user_defined_symbols": ["\n", "\t", "{", "}", "<2de>"]},
    "not normalized": {"normalization_rule_name": "identity"},
    "all spaces kept": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "no space first": {"add_dummy_prefix": False},
    "pieces of several words": {"split_by_whitespace": False, "vocab_size": 200},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_are_those_of_sentencepiece(layout, tmp_path):
    pieces = train(tmp_path, **LAYOUTS[layout])
    pad = "<s>" if layout == "unk 0, eos 2, pad 1" else "<pad>"
    say(tmp_path, **T5 | {"extra_ids": 0, "pad_token": pad})
    vocabulary = load_vocabulary(tmp_path)
    texts = odd_texts("<2de>")
    expected = [pieces.encode(text) for text in texts]
    assert vocabulary.encode(texts, add_eos=False) == expected
    assert vocabulary.size == len(pieces) and vocabulary.unk_id == pieces.unk_id()
    assert vocabulary.eos_id == pieces.eos_id() and vocabulary.pad_id == pieces.piece_to_id(pad)
    # What is unknown is "⁇" there and nothing here.
    known = [ids for ids in expected if pieces.unk_id() not in ids]
    assert vocabulary.decode(known) == [pieces.decode(ids) for ids in known] and len(known) > 10
    vocabulary.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "saved"))
    assert again.encode(texts, add_eos=False) == expected
    assert [theirs(text).input_ids for text in texts] == vocabulary.encode(texts, add_eos=True)
    assert again.decode(expected) == vocabulary.decode(expected)


ADDED = {
    "a newline": ["\n"],
    "braces": ["{", "}", "<", "{{"],
    "inside words": ["at", "\t"],
}


@pytest.mark.parametrize("gap", [0, 500], ids=["in a row", "far above"])
@pytest.mark.parametrize("names", ADDED.values(), ids=ADDED)
def test_added_tokens_of_old_directories(names, gap, tmp_path):
    pieces = train(tmp_path)
    first = len(pieces) + 100
    added = {name: first + (n + 1) * gap + n for n, name in enumerate(names)}
    say(tmp_path, **T5)
    say(tmp_path, "added_tokens.json", **added)
    vocabulary = load_vocabulary(tmp_path)
    sentinels = {f"<extra_id_{n}>": first - 1 - n for n in range(100)}
    texts = [t for t in odd_texts(*names, *names, "<extra_id_3>") if "｛" not in t]
    expected = [by_hand(pieces, added | sentinels, text) for text in texts]
    assert vocabulary.encode(texts, add_eos=False) == expected
    assert vocabulary.size == max(added.values()) + 1
    assert vocabulary.sentinel_ids == list(sentinels.values())
    free = [[first, *expected[2]]] if gap else [expected[2]]
    assert vocabulary.decode(free) == ["hello my cat"]
    vocabulary.save(tmp_path / "saved")
    again = load_vocabulary(tmp_path / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "saved"))
    assert again.encode(texts, add_eos=False) == expected and again.size == vocabulary.size
    assert again.decode(free) == ["hello my cat"]
    assert [theirs(text).input_ids[:-1] for text in texts] == expected


def test_decoding_keeps_the_text_of_added_tokens(tmp_path):
    pieces = train(tmp_path)
    say(tmp_path, **T5)
    say(tmp_path, "added_tokens.json", **{"\n": len(pieces) + 100})
    vocabulary = load_vocabulary(tmp_path)
    ids = vocabulary.encode(["hello my\n\ncat", "\nhello\n"], add_eos=True)
    # A word begins behind an added token, in transformers, too.
    assert vocabulary.decode(ids) == ["hello my\n\n cat", "\n hello\n"]


def test_flags_of_added_tokens(tmp_path):
    pieces = train(tmp_path)
    n = len(pieces) + 100
    flags = {
        "lstrip": False,
        "rstrip": False,
        "normalized": True,
        "single_word": False,
        "special": False,
    }
    token = {
        str(n): {**flags, "content": "cat", "single_word": True},
        str(n + 1): {**flags, "content": "\n"},
        str(n + 3): {**flags, "content": "<sep>", "special": True},
    }
    sentinels = {
        str(n - 1 - i): {**flags, "content": f"<extra_id_{i}>", "special": True} for i in range(100)
    }
    say(tmp_path, **T5, added_tokens_decoder=token | sentinels)
    vocabulary = load_vocabulary(tmp_path)
    encode = lambda text: vocabulary.encode([text], add_eos=False)[0]  # noqa: E731
    hello, my, cats = map(pieces.encode, ("hello", "my", "cats"))
    assert encode("hello cat my") == [*hello, n, *my]
    assert encode("cats") == cats and n not in encode("concat cats")
    assert encode("hello\nmy<sep>") == [*hello, n + 1, *my, n + 3]
    assert vocabulary.decode([[*hello, n + 3, n + 2, *my]]) == ["hello my"]  # special; no token
    assert vocabulary.sentinel_ids == list(range(n - 1, n - 101, -1))


def test_sentinels_stay_where_a_special_token_took_their_place_in_the_list(tmp_path):
    pieces = train(tmp_path)
    say(tmp_path, **T5)
    say(tmp_path, "special_tokens_map.json", additional_special_tokens=["<sep>"])
    say(tmp_path, "added_tokens.json", **{"<sep>": len(pieces) + 100})
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.sentinel_ids == list(range(len(pieces) + 99, len(pieces) - 1, -1))
    ids = [*pieces.encode("hello"), len(pieces) + 100, *pieces.encode("my")]
    assert vocabulary.encode(["hello<sep>my"], add_eos=False) == [ids]
    assert vocabulary.decode([ids]) == ["hello my"]


def test_without_the_legacy_a_word_begins_only_behind_a_space(tmp_path):
    pieces = train(tmp_path)
    say(tmp_path, **T5, legacy=False)
    vocabulary = load_vocabulary(tmp_path)
    sentinel = len(pieces) + 99
    whole = pieces.encode("hello.")
    behind = vocabulary.encode(["hello<extra_id_0>."], add_eos=False)[0]
    assert behind == [*pieces.encode("hello"), sentinel, pieces.unk_id()]
    assert whole[-1] == pieces.unk_id() and vocabulary.encode([" hello."], add_eos=False) == [whole]


def test_a_tokenizer_json_with_a_newline_that_normalization_takes_away(tmp_path):
    """As transformers 4 saved them; `tokenizers` never comes to an end on such a file."""
    pieces = train(tmp_path / "slow")
    say(tmp_path / "slow", **T5)
    say(tmp_path / "slow", "added_tokens.json", **{"\n": len(pieces) + 100})
    load_vocabulary(tmp_path / "slow").save(tmp_path)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    for token in file["added_tokens"]:
        token["normalized"] = not token["special"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    added = read_backend(tmp_path / "tokenizer.json").get_added_tokens_decoder()
    assert not added[len(pieces) + 100].normalized
    expected = [*pieces.encode("hello my"), len(pieces) + 100, *pieces.encode("cat")]
    assert load_vocabulary(tmp_path).encode(["hello my\ncat"], add_eos=False) == [expected]


def test_a_tokenizer_json_with_free_ids(tmp_path):
    train(tmp_path / "pieces")
    say(tmp_path / "pieces", **T5)
    load_vocabulary(tmp_path / "pieces").save(tmp_path)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    file["added_tokens"].append({**file["added_tokens"][-1], "id": 900, "content": "<new>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.encode(["<new>"], add_eos=False) == [[900]] and vocabulary.size == 901


def test_bytes_that_a_conversion_lost_come_from_the_pieces(tmp_path):
    pieces = train(tmp_path, **LAYOUTS["bytes"])
    say(tmp_path, **T5)
    lossy = transformers.T5TokenizerFast.from_pretrained(str(tmp_path))
    lossy.save_pretrained(str(tmp_path))
    assert (tmp_path / "tokenizer.json").is_file()
    text = "hello {my} 🦙"
    assert lossy(text, add_special_tokens=False).input_ids != pieces.encode(text)
    assert load_vocabulary(tmp_path).encode([text], add_eos=False) == [pieces.encode(text)]


def byte_level(folder: pathlib.Path) -> None:
    """vocab.json and merges.txt."""
    folder.mkdir(exist_ok=True)
    bpe = tokenizers.ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(
        [*CODE, *WORDS] * 9, vocab_size=400, special_tokens=special, show_progress=False
    )
    bpe.save_model(str(folder))


def like_codet5(folder: pathlib.Path) -> None:
    byte_level(folder)
    size = len(json.loads((folder / "vocab.json").read_text()))
    names = [f"<extra_id_{n}>" for n in reversed(range(100))]
    say(folder, tokenizer_class="RobertaTokenizer", additional_special_tokens=names)
    say(folder, "added_tokens.json", **{name: size + n for n, name in enumerate(names)})
    say(folder, "config.json", model_type="t5", vocab_size=size + 100)


@pytest.mark.parametrize("kind", ["files", "CodeT5", "CodeT5 saved", "tokenizer.json"])
def test_bpe_of_bytes_with_start_and_end_tokens(kind, tmp_path):
    folder = tmp_path / "a"
    if "CodeT5" in kind:
        like_codet5(folder)
    else:
        byte_level(folder)
        say(folder, tokenizer_class="RobertaTokenizer")
    if kind in ("CodeT5 saved", "tokenizer.json"):
        transformers.AutoTokenizer.from_pretrained(str(folder)).save_pretrained(str(tmp_path / "b"))
        folder = tmp_path / "b"
    vocabulary = load_vocabulary(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    texts = [*CODE, *odd_texts("<mask>", "</s>")]
    assert vocabulary.encode(texts, add_eos=True) == [theirs(text).input_ids for text in texts]
    plain = vocabulary.encode(texts, add_eos=False)
    assert plain == [theirs(text, add_special_tokens=False).input_ids for text in texts]
    ids = vocabulary.encode(CODE, add_eos=True)
    assert (ids[0][0], ids[0][-1]) == (1, 2) and vocabulary.decode(ids) == CODE
    if "CodeT5" in kind:
        assert vocabulary.sentinel_ids == list(
            range(vocabulary.size - 1, vocabulary.size - 101, -1)
        )
        assert vocabulary.decode([[vocabulary.sentinel_ids[0], *plain[0]]]) == [CODE[0]]


def test_bpe_files_without_settings_are_robertas(tmp_path):
    byte_level(tmp_path)
    assert load_vocabulary(tmp_path).encode(CODE, add_eos=True)[0][0] == 1


def test_bpe_of_bytes_without_an_end_gets_one(tmp_path):
    byte_level(tmp_path)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    say(tmp_path, tokenizer_class="GPT2Tokenizer", **special)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    texts = odd_texts(number=50)
    expected = [[*theirs(text).input_ids, 2] for text in texts]
    assert load_vocabulary(tmp_path).encode(texts, add_eos=True) == expected


def test_word_pieces(tmp_path, caplog):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "my", "cat", "##s", ",", "{"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    say(tmp_path, tokenizer_class="BertTokenizer")
    vocabulary = load_vocabulary(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    texts = odd_texts()
    assert vocabulary.encode(texts, add_eos=True) == [theirs(text).input_ids for text in texts]
    assert vocabulary.encode(["Hello cats, {my"], add_eos=True) == [[2, 5, 7, 8, 9, 10, 6, 3]]
    assert vocabulary.decode([[2, 5, 7, 8, 9, 6, 3, 5]]) == ["hello cats, my"]
    assert "no eos token; '[SEP]', its sep token, ends a text" in caplog.text


def test_what_is_unknown_is_never_the_end_or_padding(tmp_path):
    train(tmp_path)
    say(tmp_path, **T5 | {"eos_token": "<unk>"})
    with pytest.raises(InputError, match="its eos and unk tokens are one, '<unk>'"):
        load_vocabulary(tmp_path)
    say(tmp_path, **T5 | {"pad_token": {"content": "<unk>"}})
    with pytest.raises(InputError, match="its pad and unk tokens are one"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize("newer", [False, True])
def test_the_older_file_of_special_tokens_counts_unless_a_newer_one_lists_them(newer, tmp_path):
    pieces = train(tmp_path, user_defined_symbols=["<end>"])
    special = {"content": "</s>", "special": True}
    say(tmp_path, **T5, **({"added_tokens_decoder": {"1": special}} if newer else {}))
    say(tmp_path, "special_tokens_map.json", eos_token={"content": "<end>"})
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.eos_id == (1 if newer else pieces.piece_to_id("<end>"))
    assert vocabulary.encode([""], add_eos=True) == [[vocabulary.eos_id]]


def test_a_text_has_one_end_where_another_eos_is_named(tmp_path):
    """transformers #19452; its tokenizer.json still has the older end behind a text."""
    train(tmp_path / "pieces")
    say(tmp_path / "pieces", **T5)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "pieces"))
    theirs.add_special_tokens({"eos_token": "[eos]"})
    theirs.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    vocabulary = load_vocabulary(tmp_path)
    assert vocabulary.encode(["hello my"], add_eos=True) == theirs(["hello my"]).input_ids
    vocabulary.save(tmp_path / "again")
    again = load_vocabulary(tmp_path / "again")
    assert again.encode(["hello my"], add_eos=True) == theirs(["hello my"]).input_ids


def test_special_tokens_that_are_to_be_split_are_refused(tmp_path):
    train(tmp_path)
    say(tmp_path, **T5 | {"split_special_tokens": True})
    with pytest.raises(InputError, match="tokenizer_config.json: split_special_tokens = true"):
        load_vocabulary(tmp_path)


def test_models_of_characters_are_refused(tmp_path):
    train(tmp_path, model_type="char")
    with pytest.raises(InputError, match="a SentencePiece model of words or characters"):
        load_vocabulary(tmp_path)


def test_what_names_a_model_names_its_tokenizer(tmp_path):
    nano = load_vocabulary(BUNDLED["nano"])
    nano.save(tmp_path / "run" / "model")
    say(tmp_path / "run" / "model", "config.json", model_type="t5")
    nano.save(tmp_path / "trained" / "tokenizer")  # a run that trained its tokenizer
    (tmp_path / "adapter").mkdir()
    say(tmp_path / "adapter", "adapter_config.json", base_model_name_or_path="nano")
    expected = nano.encode(["Hello there"], add_eos=True)
    for source in ("nano", *(tmp_path / name for name in ("run", "trained", "adapter"))):
        assert load_vocabulary(source).encode(["Hello there"], add_eos=True) == expected


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("some/model", ("some/model", None)),
        ("some/model@refs/pr/25", ("some/model", "refs/pr/25")),
    ],
)
def test_a_hub_id_is_read_as_a_directory(source, asked, tmp_path, monkeypatch):
    pieces = train(tmp_path, **LAYOUTS["unk 0, eos 2, pad 1"])
    say(tmp_path, **T5 | {"pad_token": "<s>", "extra_ids": 0})
    calls = []

    def download(name, *, revision, allow_patterns, local_files_only):
        calls.append((name, revision))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_vocabulary(source).encode(["hello {"], add_eos=False) == [pieces.encode("hello {")]
    assert calls == [asked]


LONE = ["A: nice \ud83d", "\ud83d\ude00", "\udfff", "a\ud800b"]


def test_half_a_surrogate_pair_is_the_replacement_character(tmp_path, shared_data):
    like_codet5(tmp_path / "codet5")
    (tmp_path / "byt5").mkdir()
    say(tmp_path / "byt5", tokenizer_class="ByT5Tokenizer")
    for folder in (shared_data / "t5_vocab", tmp_path / "codet5", tmp_path / "byt5"):
        vocabulary: Vocabulary = load_vocabulary(folder)
        replaced = [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in LONE]
        replaced[1] = "\ufffd\ufffd"  # halves are replaced one by one
        assert vocabulary.encode(LONE, add_eos=True) == vocabulary.encode(replaced, add_eos=True)
        assert vocabulary.boundaries(LONE[0]) == vocabulary.boundaries(replaced[0])
        with pytest.raises(InputError, match="texts: expected strings, got NoneType"):
            vocabulary.encode(["a", None], add_eos=True)  # type: ignore[list-item]


def test_other_ids_in_the_config_are_told_with_what_is_done(tmp_path, caplog):
    train(tmp_path, **LAYOUTS["unk 0, eos 2, pad 1"])
    say(tmp_path, **T5 | {"pad_token": "<s>", "extra_ids": 0})
    vocabulary = load_vocabulary(tmp_path)
    tell_differing_ids(vocabulary, pad_token_id=1, eos_token_id=2, model="mine")
    assert not caplog.records
    tell_differing_ids(vocabulary, pad_token_id=0, eos_token_id=1, model="mine")
    end, pad = (record.getMessage() for record in caplog.records)
    assert "mine: its eos_token_id is 1 ('<s>'), its tokenizer's 2 ('</s>'): texts and" in end
    assert "mine: its pad_token_id is 0 ('<unk>'), its tokenizer's 1 ('<s>'): rows are" in pad
