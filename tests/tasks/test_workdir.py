"""The folder of a run: whose it is, and that it can be written, local or not."""

import dataclasses
import functools
import json
import pathlib
import re
import sys
import types
from collections.abc import Mapping
from typing import ClassVar

import pytest
from etils import epath

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.sections import Config, Section, to_dict
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


# What of a real config may differ when its run goes on, and what may not. Shipped files, so that a renamed field or a
# section that no task has shows here.
FREE = [
    ("quickstart.py:runlocal", "mesh.fsdp", "2"),
    ("quickstart.py:runlocal", "logging.every_steps", "7"),
    ("quickstart.py:runlocal", "logging.trackers", "('trackio',)"),
    ("quickstart.py:runlocal", "evaluation.at_start", "True"),
    ("quickstart.py:runlocal", "checkpoint.keep", "9"),
    ("quickstart.py:runlocal", "generation.num_beams", "4"),
    ("quickstart.py:runlocal", "evaluation.samples", "1"),
    ("quickstart.py:runlocal", "evaluation.bootstrap_samples", "33"),
    ("reward.py:runlocal", "evaluation.samples", "1"),
    ("reward.py:runlocal", "checkpoint.every_steps", "3"),
    ("classifier.py:runlocal", "evaluation.samples", "1"),
    ("dpo.py:runlocal", "generation.max_new_tokens", "9"),
    ("dpo.py:runlocal", "evaluation.samples", "1"),
    ("lab3_ppo.py:runlocal", "evaluation.samples", "1"),
    ("lora.py:runlocal", "mesh.model", "2"),
]
TRAINED = [
    ("quickstart.py:runlocal", "seed", "9"),
    ("quickstart.py:runlocal", "optimizer.b1", "0.5"),
    ("quickstart.py:runlocal", "batch.size", "16"),
    ("quickstart.py:runlocal", "data.train.limit", "17"),
    ("quickstart.py:runlocal", "model.dtype", "bfloat16"),
    ("quickstart.py:runlocal", "evaluation.every_steps", "1"),
    ("reward.py:runlocal", "loss.margin", "0.5"),
    ("classifier.py:runlocal", "data.max_length", "31"),
    ("dpo.py:runlocal", "loss.beta", "0.7"),
    ("lab3_ppo.py:runlocal", "ppo.target_kl", "0.3"),
    ("lora.py:runlocal", "train.frozen_dtype", "bfloat16"),
]


@pytest.mark.parametrize("name, path, value", FREE)
def test_what_training_does_not_depend_on_may_change(tmp_path, monkeypatch, name, path, value):
    monkeypatch.setitem(sys.modules, "trackio", types.ModuleType("trackio"))
    before, config = load_config(name, {}), load_config(name, {path: value})
    assert before != config
    claim_workdir(epath.Path(tmp_path), before)
    claim_workdir(open_workdir(str(tmp_path), config), config)
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        json.dumps(to_dict(config))
    )


@pytest.mark.parametrize("name, path, value", TRAINED)
def test_what_training_depends_on_may_not(tmp_path, name, path, value):
    claim_workdir(epath.Path(tmp_path), load_config(name, {}))
    with pytest.raises(InputError, match=rf"another config \(config\.{re.escape(path)} was .*\)"):
        open_workdir(str(tmp_path), load_config(name, {path: value}))


def of_steps(steps: int, schedule: str, **changes):
    overrides = {"schedule.name": schedule, "train.steps": str(steps)}
    return load_config("quickstart.py:runlocal", overrides | changes)


@pytest.mark.parametrize("schedule", ["constant", "rsqrt"])
def test_a_run_goes_on_for_more_steps_where_its_schedule_has_no_end(tmp_path, schedule):
    claim_workdir(epath.Path(tmp_path), of_steps(12, schedule))
    longer = of_steps(20, schedule)
    claim_workdir(open_workdir(str(tmp_path), longer), longer)
    with pytest.raises(InputError, match="config.train.steps was 20, is 12"):
        open_workdir(str(tmp_path), of_steps(12, schedule))  # its state is beyond
    with pytest.raises(InputError, match="config.seed was .* config.train.steps was 20, is 30"):
        open_workdir(str(tmp_path), of_steps(30, schedule, seed="9"))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_of_a_schedule_that_ends_the_refusal_names_the_way_on(tmp_path, schedule):
    claim_workdir(epath.Path(tmp_path), of_steps(12, schedule))
    message = rf"12 steps, now there are 20: .*{schedule}.*--config\.model\.source={tmp_path} "
    with pytest.raises(InputError, match=message):
        open_workdir(str(tmp_path), of_steps(20, schedule))


def test_a_config_that_is_none(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json: not JSON .* remove it or use another"):
        open_workdir(str(tmp_path), CONFIG)


NO_CONFIGS = {
    "a list": ("[1, 2]", "expected the config of a run, a JSON object, found a list"),
    "nothing": ("null", "expected .* found a NoneType"),
    "a text": ('"config"', "expected .* found a str"),
    "bytes": (b"\xff\xfe{}", "not JSON"),
    "a number of 6,000 digits": ("9" * 6000, "not JSON"),
    "deep lists": ("[" * 100_000 + "]" * 100_000, "nested too deep"),
    "deep objects": ('{"a": ' * 700 + "1" + "}" * 700, "nested too deep"),
}


@pytest.mark.parametrize("name", NO_CONFIGS)
def test_another_file_in_place_of_the_config(tmp_path, name: str):
    content, message = NO_CONFIGS[name]
    file = tmp_path / "config.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        InputError, match=f"config.json: {message}.*remove it or use another"
    ) as error:
        open_workdir(str(tmp_path), CONFIG)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert file.exists()


def test_a_folder_in_place_of_the_config(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InputError, match=r"config.json: Is a directory; remove it or use another"):
        open_workdir(str(tmp_path), CONFIG)


@pytest.mark.parametrize("steps", [None, "12", [12], "left out"])
def test_steps_that_are_no_number(tmp_path, steps):
    """Of a config.json that somebody edited: no run of fewer steps that this one goes on with."""
    config = of_steps(20, "constant")
    values = json.loads(json.dumps(to_dict(config)))
    values["train"]["steps"] = steps
    if steps == "left out":
        del values["train"]["steps"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"another config \(config.train.steps was .*, is 20\)"):
        open_workdir(str(tmp_path), config)


def test_a_difference_of_pages_is_cut(tmp_path):
    claim_workdir(epath.Path(tmp_path), changed(model=Model(3, ((1, 2),) * 9999)))
    with pytest.raises(InputError, match=r"config.model.pairs was \[\[1, 2\].*…, is") as error:
        open_workdir(str(tmp_path), CONFIG)
    assert len(str(error.value)) < 800


def test_a_local_folder_stands_for_itself(tmp_path):
    with local_copy(epath.Path(tmp_path) / "model", with_files=True) as local:
        assert local == tmp_path / "model"


def test_a_remote_folder_is_written_at_the_end(bucket):
    remote = epath.Path(bucket) / "tokenizer"
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
