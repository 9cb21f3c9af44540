"""Whose folder it is: the habits with which people go on with a run."""

import json

import pytest

from t5x_lite.errors import InputError
from t5x_lite.wiring import workdir as module
from t5x_lite.wiring.workdir import open_workdir


def compare(old, new, **more):
    before = {"task": "finetune", "data": {"train": {"source": old}}, "seed": 0}
    module._compare("runs/a", before, before | {"data": {"train": {"source": new}}} | more, ())


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A file data/train.jsonl, seen from a folder beside it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    (tmp_path / "data" / "dev.jsonl").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "old",
    [
        "data/train.jsonl",
        "train.jsonl",
        "../data/train.jsonl",
        "{data}/train.jsonl",
        "~/data/train.jsonl",
        "./train.jsonl",
    ],
)
@pytest.mark.parametrize(
    "new",
    ["../data/train.jsonl", "{data}/train.jsonl", "~/data/train.jsonl", "{data}//train.jsonl"],
)
def test_a_file_may_be_named_from_another_folder(data, old, new):
    compare(old.format(data=data), new.format(data=data))


def test_a_folder_may_end_in_a_slash(data):
    compare("data", "../data/")
    compare(f"{data}/", str(data))


@pytest.mark.parametrize(
    "old, new",
    [
        ("train.jsonl", "../data/dev.jsonl"),
        ("lost/train.jsonl", "../data/train.jsonl"),
        ("train.jsonl", "train.jsonl.gz"),
        ("/elsewhere/train.jsonl", "../data/train.jsonl"),
        ("google/t5", "google/flan"),
        ("", "../data/train.jsonl"),
        ("..", "../data"),
        ("gs://a/train.jsonl", "../data/train.jsonl"),
    ],
)
def test_another_file_may_not(data, old, new):
    with pytest.raises(InputError, match="config.data.train.source was"):
        compare(old, new)


def test_nor_anything_else_beside_it(data):
    with pytest.raises(InputError, match=r"another config \(config.seed was 0, is 1\)"):
        compare("train.jsonl", "../data/train.jsonl", seed=1)


@pytest.mark.parametrize("name", ["", " "])
def test_a_workdir_has_a_name(name, tmp_path, monkeypatch):
    """An empty one was the current folder: --workdir=$RUN where RUN is not set."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--workdir: an empty name"):
        open_workdir(name, None)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_model_is_no_workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(InputError, match="config.json: the config of a model, and of no run"):
        open_workdir(str(tmp_path), None)


def test_checkpoints_without_their_config_are_nobodys(tmp_path):
    (tmp_path / "checkpoints" / "20").mkdir(parents=True)
    with pytest.raises(InputError, match="holds checkpoints/ and no config.json"):
        open_workdir(str(tmp_path), None)
    (tmp_path / "checkpoints" / "20").rename(tmp_path / "checkpoints" / ".DS_Store")
    assert open_workdir(str(tmp_path), None).exists()
