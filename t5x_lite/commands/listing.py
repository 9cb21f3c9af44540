"""`t5x-lite list`: the recipes that ship, and `t5x-lite describe CONFIG`: what one does and holds."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator, Sequence

from t5x_lite.config import (
    explain_config,
    find_config_file,
    load_config,
    load_values,
    shipped_configs,
)
from t5x_lite.errors import InputError
from t5x_lite.recipe import open_recipe

_INDENT = " " * 4


def list_recipes(arguments: Sequence[str]) -> str:
    """Every recipe: its name, its task, what it is in a line, and the words that it takes.

    Raises:
      InputError: there are arguments.
    """
    if arguments:
        raise InputError(
            f"list {arguments[0]}: takes no arguments; t5x-lite describe CONFIG tells of one"
        )
    lines = []
    for file in shipped_configs():
        try:
            task, words = task_of(file), words_of(file)
        except InputError as error:  # one of somebody's own, say; the others are still wanted
            lines.append(f"{file.name:<25}cannot be read: {error}")
            continue
        lines.append(f"{file.name:<25}{task:<21}{summary_of(file)}")
        if words:
            lines.append(f"{_INDENT}words: {', '.join(words)}")
    return "\n".join(
        [
            *lines,
            "",
            "t5x-lite describe CONFIG tells of one; t5x-lite --config CONFIG:WORD,WORD --workdir DIRECTORY runs it.\n",
        ]
    )


def describe_config(arguments: Sequence[str]) -> str:
    """What a config does, in the words of its file, and every field with its value, type, meaning and origin.

    arguments: FILE.py[:ARGUMENT], and maybe the sections (or fields) that are wanted alone.

    Raises:
      InputError: no config is named, there is none of that name, or it has no such section.
    """
    if not arguments or arguments[0].startswith("-"):
        raise InputError(
            "describe: name a config, as in t5x-lite describe lora.py; t5x-lite list has them"
        )
    spec, *sections = arguments
    fields = list(_chosen(explain_config(spec, {}), sections))
    if sections and not fields:
        raise InputError(
            f"describe {spec}: it has no section or field {' or '.join(sections)}; there are"
            f" {', '.join(load_values(spec, {}))}"
        )
    if sections:
        return "".join(fields)
    file = find_config_file(spec.partition(":")[0])
    return (
        f"{file.name} (task {task_of(file)})\n\n{docstring_of(file)}\n\n"
        f"Words, as in {file.name}:WORD: {', '.join(words_of(file)) or 'none'}\n\n"
        f"Fields, each changed by --config.FIELD=VALUE:\n\n{''.join(fields)}"
    )


def words_of(file: pathlib.Path) -> list[str]:
    """The words that a recipe takes, its own first, and `runlocal` last; none of a config that is no recipe."""
    recipe = open_recipe(file)
    return sorted(recipe.words if recipe else (), key=lambda word: word == "runlocal")


def task_of(file: pathlib.Path) -> str:
    """The task that a config is of."""
    recipe = open_recipe(file)
    return recipe.base["task"] if recipe else load_config(str(file), {}).task


def summary_of(file: pathlib.Path) -> str:
    """The first line of what a config says of itself."""
    return docstring_of(file).partition("\n")[0]


def docstring_of(file: pathlib.Path) -> str:
    """What a config says of itself."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def _chosen(explained: str, sections: Sequence[str]) -> Iterator[str]:
    """The fields of `explain_config`'s text (two lines each) that lie in one of the sections; all, if none is named."""
    lines = explained.splitlines(keepends=True)
    for name, meaning in zip(lines[::2], lines[1::2], strict=True):
        field = name.partition(" = ")[0]
        if not sections or any(f"{field}.".startswith(f"{section}.") for section in sections):
            yield name + meaning
