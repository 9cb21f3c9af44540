import json
import logging
import pathlib
import shutil

import numpy as np
import pytest
import transformers

from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.errors import InputError

ROUTES = {
    "as given": None,
    "spiece.model alone": ["spiece.model"],
    "spiece.model and config": ["spiece.model", "tokenizer_config.json"],
    "tokenizer.json alone": ["tokenizer.json"],
    "tokenizer.json and config": ["tokenizer.json", "tokenizer_config.json"],
}


@pytest.fixture(scope="module")
def t5_directory(shared_data: pathlib.Path) -> pathlib.Path:
    return shared_data / "t5_vocab"


@pytest.fixture(scope="module")
def t5(t5_directory: pathlib.Path) -> Vocabulary:
    return load_vocabulary(t5_directory)


def directory_of(route: str, source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    files = ROUTES[route]
    if files is None:
        return source
    for name in files:
        shutil.copyfile(source / name, target / name)
    return target


@pytest.mark.parametrize("route", ROUTES)
def test_golden_encodings_by_every_route(route, t5_directory, tmp_path):
    vocabulary = load_vocabulary(directory_of(route, t5_directory, tmp_path))
    cases = json.loads((t5_directory / "golden_encodings.json").read_text())["cases"]
    texts = [case["text"] for case in cases]
    assert vocabulary.encode(texts, add_eos=True) == [case["ids"] for case in cases]
    assert vocabulary.decode([case["ids"] for case in cases]) == texts
    # Lab 1.3.
    tom = [363, 97, 19, 34, 6, 3059, 58, 1]
    assert vocabulary.encode(["What time is it, Tom?"], add_eos=True) == [tom]
    assert vocabulary.decode([tom]) == ["What time is it, Tom?"]
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert (vocabulary.size, vocabulary.padded_size) == (32100, 32128)
    assert vocabulary.sentinel_ids == list(range(32099, 31999, -1))


def test_eos_only_when_asked(t5):
    with_eos, without = (t5.encode(["Hello there", ""], add_eos=add) for add in (True, False))
    assert with_eos == [without[0] + [1], [1]]
    assert without[1] == []


def test_long_texts_are_not_truncated(t5, caplog):
    # T5's tokenizer.json carries a truncation to 1,024 tokens.
    with caplog.at_level(logging.WARNING):
        (ids,) = t5.encode(["word " * 3000], add_eos=False)
    assert len(ids) == 3000
    assert not caplog.records


def test_batched_equals_single(t5):
    texts = ["a", "The quick brown fox.", "  odd   spaces ", "naïve ☃ 日本"]
    together = t5.encode(texts, add_eos=True)
    assert together == [t5.encode([text], add_eos=True)[0] for text in texts]


def test_decode_stops_at_eos_and_skips_special_tokens(t5):
    (ids,) = t5.encode(["Good morning"], add_eos=False)
    rows = np.array([[0, *ids, 1, *ids], [0, *ids, 0, 0, 0], [0, 32099, *ids, 2, 1]][:1])
    assert t5.decode(rows) == ["Good morning"]
    assert t5.decode([[0, *ids, 0, 0], [32099, *ids, 1, 1]]) == ["Good morning"] * 2
    assert t5.decode([[1], [], [0, 0]]) == ["", "", ""]


def test_decode_takes_ids_of_a_padded_embedding(t5):
    (ids,) = t5.encode(["Good morning"], add_eos=False)
    assert t5.decode([[*ids, 32127, 1]]) == ["Good morning"]


def test_boundaries_cut_between_tokens(t5):
    text = "Nora walks home."
    spans = t5.boundaries(text)
    assert [text[a:b].strip() for a, b in spans] == ["Nor", "a", "walks", "home", "."]


def test_saved_vocabulary_is_the_same(t5, tmp_path):
    t5.save(tmp_path)
    texts = ["Summarize: {a} <extra_id_0> b", "Héllo\n\nthere"]
    again = load_vocabulary(tmp_path)
    assert again.encode(texts, add_eos=True) == t5.encode(texts, add_eos=True)
    assert again.sentinel_ids == t5.sentinel_ids


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/directory", "there is no directory /no/such/directory"),
        ("./here", "there is no directory ./here"),
        ("google/flan-t5-nonexistent", "check the id and the network, or give a local directory"),
    ],
)
def test_missing_sources_are_one_line_errors(source, message):
    with pytest.raises(InputError, match=message) as error:
        load_vocabulary(source)
    assert "\n" not in str(error.value)


def test_bad_directories_are_one_line_errors(tmp_path):
    with pytest.raises(InputError, match="neither tokenizer.json nor spiece.model"):
        load_vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{not json")
    with pytest.raises(InputError, match="cannot read the tokenizer files in") as error:
        load_vocabulary(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="is a directory and has no revision"):
        load_vocabulary(tmp_path, "main")


def test_a_tokenizer_without_pad_is_refused(t5_directory, tmp_path):
    shutil.copyfile(t5_directory / "tokenizer.json", tmp_path / "tokenizer.json")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="</s>", unk_token="<unk>"
    )
    with pytest.raises(InputError, match="mine: its tokenizer has no pad token"):
        Vocabulary(tokenizer, "mine")
