"""Recipes: what is laid over what, what is refused, and what a config knows of how it was written."""

import pathlib

import pytest
from ml_collections import ConfigDict

from t5x_lite.config import load_values
from t5x_lite.errors import InputError
from t5x_lite.recipe import Difference, differences, load_base, origins, recipe

BASE = {
    "a": 1,
    "b": {"c": 2, "d": {"e": 3, "f": "x"}},
    "kind": {"method": "none"},
    "empty": {},
}


def refuses(message):
    return pytest.raises(InputError, match=message)


@pytest.fixture
def write(tmp_path):
    """Writes a recipe file: write(text), or write(text, name)."""

    def write(text, name="own.py"):
        file = tmp_path / name
        file.write_text(f"from t5x_lite.recipe import recipe\n\n{text}\n")
        return file

    return write


# What is laid over what


def test_overrides_are_laid_over_the_base_and_sections_replaced_as_a_whole():
    config = recipe(BASE, {"b.c": 5, "kind": {"method": "lora", "rank": 4}})()
    assert config.to_dict() == BASE | {
        "b": {"c": 5, "d": {"e": 3, "f": "x"}},
        "kind": {"method": "lora", "rank": 4},
    }
    assert BASE["b"]["c"] == 2 and isinstance(config, ConfigDict)


def test_words_in_the_order_of_their_declaration_whatever_the_arguments():
    """Mappings first, then functions, which see what the mappings did; then what derives from all."""
    seen = []
    get_config = recipe(
        BASE,
        {},
        words={
            "double": lambda config: {"b.c": 2 * config.b.c},
            "more": ({"b.c": 10}, lambda config: {"b.c": config.b.c + 1}),
        },
        derived=lambda config, words: seen.append(words) or {"a": config.b.c},
    )
    for argument in ("double,more", "more,double", "more,double,more", "more,,double"):
        config = get_config(argument)
        assert config.b.c == config.a == 21
    assert seen[:2] == [("double", "more"), ("more", "double")]
    assert get_config("double").a == 4 and get_config("").a == get_config().a == 2


def test_words_with_a_value_and_any_other_word():
    get_config = recipe(
        BASE,
        {},
        words={
            "depth=NUMBER": lambda value: {"b.c": int(value)},
            "FOLDER": lambda folder: {"b.d.f": f"{folder}/rows"},
            "big": {"a": 100},
        },
    )
    config = get_config("data/x,depth=7,big")
    assert (config.a, config.b.c, config.b.d.f) == (100, 7, "data/x/rows")
    for argument, message in (
        ("x,y", "'y' after 'x': give one FOLDER"),
        ("depth=1,depth=2", "'depth=2' after 'depth=1': give one depth=NUMBER"),
        ("width=3", "unknown argument 'width=3': give none, or depth=NUMBER, FOLDER or big"),
        ("depth=", "unknown argument 'depth='"),
        ("depth=7,a,b=1", "unknown argument 'b=1'"),
    ):
        with refuses(message):
            get_config(argument)


def test_a_recipe_over_a_recipe_has_its_words_and_extends_them(write):
    write(
        "get_config = recipe({'a': 1, 'b': {'c': 2}}, {'a': 3}, words={'big': {'a': 9, 'b.c': 9}},"
        " derived=lambda config, words: {'b.c': config.b.c + 1})",
        "first.py",
    )
    second = write(
        "get_config = recipe('first.py', {'a': 4}, words={'big': {'a': 10}, 'small': {'b.c': 0}})",
        "second.py",
    )
    write("get_config = lambda arg='': None", "none.py")
    config = load_plain(second)()
    assert config.to_dict() == {"a": 4, "b": {"c": 3}}
    config = load_plain(second)("big")
    assert config.to_dict() == {"a": 10, "b": {"c": 10}}
    assert differences(config) == {"a": Difference(1, 10), "b.c": Difference(2, 10)}
    for base, message in (("none.py", "none.py is no base"), ("no.py", "no recipe no.py")):
        with refuses(message):
            load_plain(write(f"get_config = recipe({base!r}, {{}})", "third.py"))


def load_plain(file: pathlib.Path):
    space: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    return space["get_config"]


# What is refused


def test_an_unknown_word_is_refused_with_those_that_there_are():
    with refuses("unknown argument 'fast': give none, or big or small$"):
        recipe(BASE, {}, words={"big": {"a": 9}, "small": {"a": 0}})("fast")
    with refuses("unknown argument 'fast': give none$"):
        recipe(BASE, {})("fast")


@pytest.mark.parametrize(
    "first, second, field",
    [
        ({"a": 2}, {"a": 3}, "a"),
        ({"b.c": 2}, {"b": {"c": 3, "d": {}}}, "b.c"),
        ({"b": {"c": 3}}, {"b.d.e": 4}, "b.d.e"),
        ({"kind": {"method": "x"}}, {"kind": {"method": "y"}}, "kind"),
    ],
)
def test_words_that_contradict_each_other_are_refused(first, second, field):
    get_config = recipe(BASE, {}, words={"one": first, "two": second})
    for argument, names in (("one,two", "one and two"), ("two,one", "two and one")):
        with refuses(rf"{names} exclude each other \(both set {field}\)"):
            get_config(argument)
    assert get_config("one") and get_config("two")


def test_words_that_agree_do_not_contradict_each_other():
    words = {"one": {"a": 2, "b.c": 1}, "two": {"a": 2, "b.d.e": 1}, "three": {"b.d.e": 1}}
    config = recipe(BASE, {}, words=words)("one,two,three")
    assert (config.a, config.b.c, config.b.d.e) == (2, 1, 1)


@pytest.mark.parametrize(
    "shape", ["get_config = {}", "def get_config(arg=''):\n    return {}(arg)"]
)
def test_an_override_without_a_field_is_named_with_its_file_and_line(write, shape):
    made = (
        "recipe('finetune', {\n    'model.source': 'nano',\n    'schedule.learning_rat': 1.0,\n})"
    )
    file = write(shape.format(made))
    line = file.read_text().splitlines().index("    'schedule.learning_rat': 1.0,") + 1
    with refuses(
        rf"recipe own.py overrides schedule.learning_rat \(own.py:{line}\), but the base finetune has no such field;"
        " did you mean schedule.learning_rate"
    ):
        load_values(str(file), {})


def test_a_word_without_a_field_is_named():
    with refuses(r"word big overrides b.g \(test_recipe.py:\d+\), but the base of its own has no"):
        recipe(BASE, {}, words={"big": {"b.g": 9}})("big")
    with refuses(r"word big overrides a.b \("):
        recipe(BASE, {}, words={"big": lambda config: {"a.b": 9}})("big")


def test_an_unknown_base_is_refused_with_those_that_there_are():
    with refuses("no base 'fintune': give .*finetune.*ppo.*, or a recipe's FILE.py"):
        recipe("fintune", {})
    with refuses("'quickstart.py:lora' is no base: name 'quickstart.py' without words, and start"):
        load_base("quickstart.py:lora")
    assert load_base("finetune").BASE["task"] == "finetune"


# What a config knows


def test_every_field_knows_where_it_was_written(write):
    file = write(
        "get_config = recipe('finetune', {'model.source': 'nano', 'generation': {'num_beams': 1}},"
        " words={'low': {'schedule.learning_rate': 1e-6, 'published': {'x': {'rouge1': 0.5}}}},"
        " derived=lambda config, words: {'train.steps': 7})"
    )
    config = load_values(f"{file}:low", {"loss.z_loss": "0.5"})
    found = origins(config)
    assert found["task"] == found["model.dtype"] == found["loss.z_loss"] == "base finetune"
    assert found["model.source"] == found["train.steps"] == "recipe own.py"
    assert found["generation.num_beams"] == "recipe own.py"
    assert "generation.max_new_tokens" not in found  # the section was replaced as a whole
    assert found["schedule.learning_rate"] == found["published.x.rouge1"] == "word low"
    assert "published" not in found
    base = load_base("finetune").BASE
    assert differences(config) == {
        "model.source": Difference(base["model"]["source"], "nano"),
        "train.steps": Difference(base["train"]["steps"], 7),
        "loss.z_loss": Difference(0.0, 0.5),  # flags, too
        "schedule.learning_rate": Difference(base["schedule"]["learning_rate"], 1e-6),
        "generation.num_beams": Difference(4, 1),
        "published.x.rouge1": Difference(None, 0.5),
        "generation.max_new_tokens": Difference(128, None),
    }


def test_origins_name_every_field_of_a_shipped_recipe():
    config = load_values("lab3_ppo.py:parity", {})
    names = set(flat(config.to_dict()))
    assert set(origins(config)) == names
    assert origins(config)["ppo.steps"] == "word parity"
    assert origins(load_values("quickstart.py:runlocal", {}))["train.steps"] == "word runlocal"


def flat(values, place=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{place}{name}.")
        else:
            yield place + name


def test_a_plain_config_has_neither():
    config = ConfigDict({"a": 1})
    assert origins(config) == {} and differences(config) == {}
