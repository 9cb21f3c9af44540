"""The folder of a run: whose it is, and that it can be written, local or not."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import ClassVar

import pytest
from etils import epath

from t5x_lite.errors import InputError
from t5x_lite.sections import Config, Section
from t5x_lite.wiring import workdir
from t5x_lite.wiring.workdir import claim_workdir, is_claimed, local_copy, open_workdir


class Model(Section):
    d_ff: int
    pairs: tuple[tuple[int, int], ...]


class Tiny(Config):
    model: Model
    mesh: Mapping[str, int]
    generation: Mapping[str, int]

    FREE: ClassVar[tuple[str, ...]] = ("mesh", "generation")


CONFIG = Tiny("tiny", 0, Model(3, ((1, 2), (3, 4))), {"data": -1}, {"num_beams": 1})
changed = functools.partial(dataclasses.replace, CONFIG)


def test_a_folder_is_made_and_claimed_in_two_steps(tmp_path):
    folder = open_workdir(str(tmp_path / "a" / "b"), CONFIG)
    assert folder.is_dir() and not list(folder.iterdir()) and not is_claimed(folder)
    open_workdir(str(folder), changed(seed=1))  # nobody's yet
    claim_workdir(folder, CONFIG)
    assert is_claimed(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert json.loads((folder / "config.json").read_text())["model"]["pairs"] == [[1, 2], [3, 4]]


def test_a_claimed_folder_takes_its_own_config_alone(tmp_path):
    claim_workdir(epath.Path(tmp_path), CONFIG)
    open_workdir(str(tmp_path), CONFIG)
    message = r"holds a run of another config \(config.seed was 0, is 1\): take another folder"
    with pytest.raises(InputError, match=message):
        open_workdir(str(tmp_path), changed(seed=1))
    with pytest.raises(InputError, match=r"config.model.pairs was \[\[1, 2\], \[3, 4\]\], is \[\]"):
        open_workdir(str(tmp_path), changed(model=Model(3, ())))


@pytest.mark.parametrize("path, value", [("mesh.data", 2), ("generation.num_beams", 4)])
def test_what_training_does_not_depend_on_may_change(tmp_path, path, value):
    claim_workdir(epath.Path(tmp_path), CONFIG)
    section, name = path.split(".")
    config = changed(**{section: {name: value}})
    claim_workdir(open_workdir(str(tmp_path), config), config)
    assert json.loads((tmp_path / "config.json").read_text())[section][name] == value


def test_a_config_that_is_none(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json: not JSON .* remove it or use another"):
        open_workdir(str(tmp_path), CONFIG)


def test_a_local_folder_stands_for_itself(tmp_path):
    with local_copy(epath.Path(tmp_path) / "model", with_files=True) as local:
        assert local == tmp_path / "model"


def test_a_remote_folder_is_written_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "_is_remote", lambda folder: True)
    remote = epath.Path(tmp_path) / "tokenizer"
    with local_copy(remote, with_files=True) as local:
        assert isinstance(local, pathlib.Path) and not list(local.iterdir())
        (local / "a").write_bytes(b"1")
        assert not remote.exists()
    assert (remote / "a").read_bytes() == b"1"
    with local_copy(remote, with_files=True) as local:
        assert (local / "a").read_bytes() == b"1"
    with local_copy(remote, with_files=False) as local:
        assert not list(local.iterdir())
    with pytest.raises(ZeroDivisionError), local_copy(remote, with_files=False) as local:
        (local / "b").write_bytes(b"2")
        raise ZeroDivisionError
    assert not (remote / "b").exists() and not local.exists()


def test_remote_is_what_has_a_scheme():
    assert workdir._is_remote(epath.Path("gs://bucket/run"))
    assert not workdir._is_remote(epath.Path("runs/a:b"))
