"""Every field of every recipe that ships, as it comes out, beside what is stored: a base's change shows all it changes.

After a change that is meant, rewrite the files and read their difference line by line before it is committed:

    python tests/configs/test_expansions.py

A file has the whole config of a recipe without words, and of each word alone the fields that it changes.
"""

import json
import pathlib

import pytest

import t5x_lite
from t5x_lite.config import load_values, shipped_configs

FOLDER = pathlib.Path(__file__).resolve().parent / "expansions"
REWRITE = "if that is meant: python tests/configs/test_expansions.py, and read what changed"
PACKAGE = str(pathlib.Path(t5x_lite.__file__).parent)
# What a word is given as, where its name alone is no argument.
EXAMPLES = {"dialogsum=FOLDER": "dialogsum=FOLDER", "FOLDER": "FOLDER"}
# Recipes whose get_config is a function of their own.
ARGUMENTS = {"compare": ["runlocal", "a=A,b=B"], "tpu": ["runlocal", "xl,lora", "small,ppo"]}


def arguments(file: pathlib.Path) -> list[str]:
    if file.stem in ARGUMENTS:
        return ["", *ARGUMENTS[file.stem]]
    space: dict = {}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), space)
    return ["", *(EXAMPLES.get(word, word) for word in space["get_config"].words)]


def fields(values: dict, place: str = "") -> dict[str, str]:
    """Dotted name -> the value as Python writes it: 1 and 1.0 differ, as do tuples and lists."""
    result = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            result |= fields(value, f"{place}{name}.")
        else:
            result[place + name] = repr(value).replace(PACKAGE, "t5x_lite")
    return result


def expansion(file: pathlib.Path) -> dict[str, dict[str, str]]:
    whole: dict[str, str] = {}
    result = {}
    for argument in arguments(file):
        found = fields(load_values(f"{file}:{argument}", {}).to_dict())
        names = dict.fromkeys([*found, *whole])
        result[argument] = {
            name: found.get(name, "gone") for name in names if found.get(name) != whole.get(name)
        }
        whole = whole or found
    return result


@pytest.mark.parametrize("file", shipped_configs(), ids=lambda file: file.name)
def test_a_recipe_comes_out_as_stored(file: pathlib.Path):
    stored = json.loads((FOLDER / f"{file.stem}.json").read_text(encoding="utf-8"))
    found = expansion(file)
    assert list(found) == list(stored), f"{file.name} has other words; {REWRITE}"
    for argument, changed in found.items():
        lines = [
            f"{name}: stored {stored[argument].get(name)}, now {changed.get(name)}"
            for name in dict.fromkeys([*changed, *stored[argument]])
            if changed.get(name) != stored[argument].get(name)
        ]
        assert not lines, f"{file.name}:{argument} changed; {REWRITE}\n" + "\n".join(lines)


def test_no_stored_file_is_of_a_recipe_that_is_gone():
    stored = {file.stem for file in FOLDER.glob("*.json")}
    assert stored == {file.stem for file in shipped_configs()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for recipe in shipped_configs():
        text = json.dumps(expansion(recipe), indent=0, ensure_ascii=False)
        (FOLDER / f"{recipe.stem}.json").write_text(text + "\n", encoding="utf-8")
