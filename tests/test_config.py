"""Configs: found, loaded, changed by flags, and checked to the letter."""

import dataclasses
import functools
import pathlib
import re

import pytest
from ml_collections import ConfigDict

from t5x_lite import config as config_module
from t5x_lite.config import (
    config_of,
    explain_config,
    find_config_file,
    load_config,
    load_values,
    read_config,
    shipped_configs,
    tasks,
)
from t5x_lite.errors import InputError
from t5x_lite.sections import Described, describe, to_dict
from t5x_lite.sections.elsewhere import CALLED_HERE

QUICKSTART = "quickstart.py:runlocal"


@pytest.fixture
def write(tmp_path):
    """Writes a config file whose `get_config` has this body."""

    def write(body, signature="get_config()"):
        file = tmp_path / "own.py"
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        file.write_text(f"from t5x_lite.config import load_values\n\ndef {signature}:\n{lines}\n")
        return file

    return write


def refuses(message):
    return pytest.raises(InputError, match=message)


# Finding and loading


def test_a_config_is_found_by_path_and_by_the_name_of_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find_config_file("quickstart.py")
    assert shipped == find_config_file("configs/quickstart.py") == find_config_file(str(shipped))
    assert shipped in shipped_configs()
    with refuses("there is no file elsewhere/quickstart.py; did you mean quickstart.py"):
        find_config_file("elsewhere/quickstart.py")
    own = tmp_path / "quickstart.py"
    own.write_text("")
    assert find_config_file("quickstart.py").samefile(own)


def test_a_wheel_has_the_configs_inside(tmp_path, monkeypatch):
    """pyproject.toml puts them there; without a checkout beside it, they are found there."""
    import tomllib

    repository = pathlib.Path(__file__).resolve().parent.parent
    pyproject = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"configs": "t5x_lite/configs"}
    inside, beside = config_module._FOLDERS
    assert inside.relative_to(repository) == pathlib.Path("t5x_lite/configs")
    assert beside == repository / "configs"
    installed = tmp_path / "t5x_lite" / "configs"
    installed.mkdir(parents=True)
    (installed / "only_here.py").write_text("")
    monkeypatch.setattr(config_module, "_FOLDERS", (installed, tmp_path / "configs"))
    assert find_config_file("only_here.py") == installed / "only_here.py"


def test_a_config_cannot_be_changed():
    config = load_config(QUICKSTART, {})
    assert config.task == "finetune"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.steps = 3


def test_a_config_that_builds_on_another_one_may_change_its_values():
    values = load_values(QUICKSTART, {"train.steps": "7"})
    values.train.steps += 1
    assert read_config(values).train.steps == 8
    with refuses("--config.train.stepz: there is no such field"):
        load_values(QUICKSTART, {"train.stepz": "7"})


@pytest.mark.parametrize(
    "body, message",
    [
        ("return 1 +", r"own.py:4: invalid syntax"),
        ("import no_such_module", r"own.py:4: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\nraise ValueError('give a folder')", r"own.py:5: give a folder$"),
        ("return {}['a']", r"own.py:4: KeyError: 'a'"),
        ("return load_values('nope.py', {})", r"own.py:4: --config: there is no file nope.py"),
        ("pass", r"own.py: get_config must return an ml_collections.ConfigDict, got None"),
    ],
)  # fmt: skip
def test_a_file_that_fails_is_named_with_its_line(write, body, message):
    with refuses(message) as error:
        load_config(str(write(body)), {})
    assert "\n" not in str(error.value)


def test_a_file_without_get_config_or_with_another_argument(write, tmp_path):
    with refuses(r"own.py: TypeError: get_config\(\) takes 0 positional arguments but 1 was given"):
        load_config(f"{write('pass')}:runlocal", {})
    (tmp_path / "empty.py").write_text("")
    with refuses(r"empty.py: AttributeError: .*get_config"):
        load_config(str(tmp_path / "empty.py"), {})


def test_what_follows_the_first_colon_is_the_argument(write):
    file = write("raise ValueError(arg)", "get_config(arg='none')")
    for spec, argument in ((f"{file}:a:b,c=1", "a:b,c=1"), (f"{file}:", ""), (str(file), "none")):
        with refuses(rf"own.py:4: {re.escape(argument)}$"):
            load_config(spec, {})


def test_an_edited_file_is_read_anew_and_leaves_nothing_beside_it(write, tmp_path):
    for text in ("one", "two"):
        with refuses(text):
            load_config(str(write(f"raise ValueError('{text}')")), {})
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]


# Changing fields


@pytest.mark.parametrize(
    "field, text, value",
    [
        ("train.steps", "7", 7),
        ("optimizer.b1", "0", 0.0),
        ("schedule.learning_rate", "1e-4", 1e-4),
        ("batch.pack", "true", True),
        ("batch.pack", "False", False),
        ("batch.buckets", "((64, 32), (128, 64))", ((64, 32), (128, 64))),
        ("batch.buckets", "4", 4),
        ("optimizer.no_weight_decay", "['.*/scale']", (".*/scale",)),
        ("data.template", "123 {dialogue}", "123 {dialogue}"),
        ("data.train.split", "", ""),
        ("data.train.columns.dialogue", "text", "text"),
        ("data.train.columns.topic", "subject", "subject"),
        ("generation.num_beams", "4", 4),
        ("generation.do_sample", "True", True),
        ("model.architecture.feed_forward_proj", "gated-gelu", "gated-gelu"),
        ("mesh.fsdp", "-1", -1),
    ],
)
def test_a_flag_changes_a_field(field, text, value):
    found = load_config(QUICKSTART, {field: text})
    for name in field.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("data", (1, -1, 1, 1)),
        ("fsdp", (1, 1, -1, 1)),
        ("tensor", (1, 1, 1, -1)),
        ("fsdp_tensor", (1, 1, -1, 2)),
        ("{'slice': 2, 'data': 2, 'fsdp': 4, 'model': 1}", (2, 2, 4, 1)),
    ],
)
def test_a_mesh_by_name_becomes_its_sizes(name, sizes):
    axes = ("slice", "data", "fsdp", "model")
    assert load_config(QUICKSTART, {"mesh": name}).mesh.sizes() == dict(
        zip(axes, sizes, strict=True)
    )
    changed = load_config(QUICKSTART, {"mesh": name, "mesh.model": "4"})
    assert changed.mesh.sizes() == dict(zip(axes, (*sizes[:3], 4), strict=True))


def test_a_mesh_of_another_name():
    with refuses("--config.mesh must be one of data, fsdp, tensor, fsdp_tensor, or .*got 'fdsp'"):
        load_config(QUICKSTART, {"mesh": "fdsp"})


def test_a_flag_may_hold_a_whole_mapping_and_the_last_one_counts():
    config = load_config(
        QUICKSTART,
        {
            "generation": "{'num_beams': 2}",
            "generation.max_new_tokens": "5",
            "published": "{'a paper': {'rouge1': 0.4}}",
        },
    )
    assert to_dict(config)["generation"] == {"num_beams": 2, "max_new_tokens": 5}
    assert config.generation == {"num_beams": 2, "max_new_tokens": 5}
    assert config.published["a paper"]["rouge1"] == 0.4


@pytest.mark.parametrize(
    "field, text, message",
    [
        ("train.stepz", "3", "--config.train.stepz: there is no such field; did you mean steps?"),
        ("trian.steps", "3", "--config.trian: there is no such field; did you mean train?"),
        ("gradient_checkpointing", "1", "there is no such field; did you mean model.remat?"),
        ("save_total_limit", "2", "there is no such field; did you mean checkpoint.keep?"),
        ("deepspeed", "ds.json", "there is no such field; did you mean mesh.fsdp?"),
        ("lora_r", "8", "there is no such field; did you mean adapter.targets?"),
        (
            "zzz",
            "3",
            "--config.zzz: there is no such field; there are adapter, batch, checkpoint, ",
        ),
        ("train.steps", "abc", "--config.train.steps must be a whole number >= 1, got 'abc'"),
        ("train.steps", "1e3", "--config.train.steps must be a whole number >= 1, got 1000.0"),
        ("train.steps", "True", "--config.train.steps must be a whole number >= 1, got True"),
        (
            "train",
            "3",
            "--config.train must be a section with steps, trainable, frozen_dtype, got 3",
        ),
        ("train", "{'stepz': 3}", "--config.train.stepz: there is no such field"),
        ("seed.x", "3", "--config.seed.x: seed is not a section, it holds 0"),
        ("seed", "-1", "--config.seed must be a whole number from 0 to 2**31 - 1, got -1"),
        (
            "task",
            "fine",
            "--config.task must be one of architectures, chat, classifier, compare, distil, dpo, evaluate, finetune,"
            " mixture, pod_check, ppo, pretrain, prompt, rank_classification, reward, got 'fine'",
        ),
        ("data.train.columns", "text", "--config.data.train.columns must be a mapping"),
        ("data.template", "", "--config.data.template must be a string that is not empty"),
        ("optimizer.no_weight_decay", "a,b", "--config.optimizer.no_weight_decay must be a tuple"),
        ("batch.pack", "1", "--config.batch.pack must be True or False, got 1"),
    ],
)
def test_a_flag_that_cannot_be(field, text, message):
    with refuses(re.escape(message)):
        load_config(QUICKSTART, {field: text})


def test_a_field_that_no_flag_touches_is_blamed_on_the_file(write):
    file = write(
        f"config = load_values('{QUICKSTART}', {{}})\n"
        "config.unlock()\n"
        "config.mesh.modle = config.mesh.model\n"
        "return config"
    )
    with refuses(r"own.py: config.mesh.modle: there is no such field; did you mean model\?"):
        load_config(str(file), {"mesh.data": "1"})


def test_a_dict_in_two_places_is_two_sections():
    """The file gives train and evaluation one and the same `columns`."""
    config = load_config("quickstart.py", {"data.train.columns.dialogue": "text"})
    assert config.data.train.columns["dialogue"] == "text"
    assert config.data.evaluation.columns["dialogue"] == "dialogue"


# Checking


SHIPPED_OF_TASK = {
    "finetune": QUICKSTART,
    "evaluate": "evaluate.py:runlocal",
    "chat": "chat.py:runlocal",
    "compare": "compare.py:runlocal",
    "mixture": "nano.py:runlocal",
    "prompt": "lab1_prompting.py:runlocal",
    "rank_classification": "rank_classification.py:runlocal",
    "classifier": "classifier.py:runlocal",
    "reward": "reward.py:runlocal",
    "distil": "distil.py:runlocal",
    "dpo": "dpo.py:runlocal",
    "ppo": "lab3_ppo.py:runlocal",
    "pod_check": "pod_check.py:runlocal",
    "pretrain": "pretrain.py:runlocal",
    "architectures": "architectures.py:runlocal",
}


@functools.cache
def loaded(task):
    return load_config(SHIPPED_OF_TASK[task], {})


def plain(task) -> dict:
    return to_dict(loaded(task))


# Of every task, the fields that its shipped config has: of sections by name, those of its own names.
EVERY_FIELD = [
    pytest.param(task, field, id=f"{task}:{field.name}")
    for task in SHIPPED_OF_TASK
    for field in describe(config_of(task), loaded(task))
]


def test_every_task_has_its_file_and_a_shipped_config():
    folder = pathlib.Path(config_module.__file__).parent / "tasks"
    assert tasks() == sorted(file.parent.name for file in folder.glob("*/run.py"))
    assert set(tasks()) == set(SHIPPED_OF_TASK)


@pytest.mark.parametrize("task, field", EVERY_FIELD)
def test_each_field_must_be_there_of_its_type_under_its_name(task, field: Described):
    *sections, name = field.name.split(".")
    dotted = re.escape(field.name)

    def changed(change):
        config = plain(task)
        section = config
        for part in sections:
            section = section[part]
        change(section)
        return ConfigDict(config)

    assert to_dict(read_config(changed(lambda section: None))) == plain(task)
    if field.name == "task" or re.search(
        r"adapter\.method$|^rewards\.\w+\.kind$|^prompts\.\w+\.kind$", field.name
    ):
        expected = "one of"  # others are read as it says
    else:
        expected = re.escape(field.words)
        with refuses(rf"^config\.{dotted} is missing"):
            read_config(changed(lambda section: section.pop(name)))
        with refuses(rf"^config\.{dotted}x: there is no such field; did you mean "):
            read_config(changed(lambda section: section.update({name + "x": section[name]})))
    for value in (None, float("nan"), object(), -7, 2.5j):
        if field.name.endswith(".weight") and value == -7:
            continue  # a reward may count against
        with refuses(rf"^config\.{dotted} must be {expected}.*, got "):
            read_config(changed(lambda section, value=value: section.update({name: value})))


@pytest.mark.parametrize("task", SHIPPED_OF_TASK)
def test_each_field_says_what_it_means(task):
    """With every kind of adapter, reward and prompt, whatever the shipped config has."""
    fields = list(describe(config_of(task)))
    assert len(fields) >= 5
    silent = [field.name for field in fields if not field.doc.endswith(".") or not field.words]
    assert not silent


def test_a_config_is_printed_with_what_its_fields_mean_and_where_they_are_from():
    text = explain_config(QUICKSTART, {"train.steps": "7", "generation.num_beams": "2"})
    assert (
        "train.steps = 7\n    a whole number >= 1; from the flag. Updates of the whole run.\n"
        in text
    )
    assert "from the recipe quickstart.py. Which optimizer.\n" in text
    columns = text[text.index("data.train.columns = ") :].splitlines()[1]
    assert "; from the word runlocal. " in columns  # a mapping, whose parts have origins
    assert re.search(r"generation = \{.*'num_beams': 2.*\n    a mapping; from the flag", text)
    named = re.findall(r"^(\S+) = ", text, re.MULTILINE)
    assert named == [field.name for field in describe(config_of("finetune"), loaded("finetune"))]


@pytest.mark.parametrize(
    "path, good, bad",
    [
        ("seed", (0, 2**31 - 1), (2**31, True, 1.0)),
        ("train.steps", (1,), (0, True, 1.0, "1")),
        ("optimizer.b1", (0, 0.999), (1.0, 1, -0.1, True)),
        ("optimizer.eps", (0, 1e-8), (float("inf"), "1e-8")),
        ("schedule.final_fraction", (0, 1, 1.0), (1.1,)),
        ("mesh.data", (1, 8, -1), (0, -2)),
        ("batch.buckets", (1, ((8, 8),), [[8, 8], [16, 8]]), (0, (), (8, 8), ((8,),), ((8, 0),))),
        ("batch.pack", (True, False), (0, 1, "True")),
        ("optimizer.no_weight_decay", ((), ("a",), ["a"]), ("a", ("a", 1))),
        ("data.train.columns", ({}, {"a": "b"}), ({"a": 1}, ("a",))),
        ("published", ({}, {"x": {"rouge1": 1}}), ({"x": 1}, {"x": {"rouge1": 35.9}})),
        ("model.dtype", ("float16",), ("float64", "bf16")),
        ("model.param_dtype", ("bfloat16",), ("float16",)),
        ("evaluation.samples", (0,), (-1,)),
    ],
)
def test_the_bounds_of_fields(path, good, bad):
    *sections, name = path.split(".")
    config = ConfigDict(plain("finetune"))
    section = config
    for part in sections:
        section = section[part]
    with config.ignore_type():
        for value in good:
            section[name] = value
            read_config(config)
        for value in bad:
            section[name] = value
            with refuses(f"^config.{path} must be "):
                read_config(config)


@pytest.mark.parametrize(
    "recipe, changes, message",
    [
        ("classifier.py", {"loss.kind": "preference"}, "config.loss.kind must be 'cross_entropy'"),
        ("classifier.py", {"loss.margin": "0.5"}, "config.loss.margin .* does nothing here"),
        ("reward.py", {"loss.kind": "cross_entropy"}, "config.loss.kind must be 'preference'"),
        (
            "lab3_ppo.py",
            {"ppo.advantage": "rloo", "ppo.samples_per_prompt": "4", "critic.kind": "separate"},
            "config.critic.kind 'separate' does nothing",
        ),
    ],
)
def test_a_flag_that_does_nothing_is_refused_by_name(recipe, changes, message):
    load_config(recipe, {})
    with pytest.raises(InputError, match=message):
        load_config(recipe, changes)


def test_what_other_programs_call_a_field_is_one():
    known = {field.name for task in tasks() for field in describe(config_of(task))}
    assert set(CALLED_HERE.values()) <= known
    assert not {name for name in CALLED_HERE if any(f.endswith(f".{name}") for f in known)} - {
        "model", "batch_size", "epochs", "use_rslora", "use_dora",
    }  # fmt: skip
