"""Configs: found by path or name, and checked against `config_fields`."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

from t5x_lite.config_fields import SECTIONS, TASKS, Field
from t5x_lite.errors import InputError


def find_config_file(name: str) -> str:
    """The path of a config given as a path, or by the name of one that ships with the package ("lab1.py").

    Raises:
      InputError: no such file, with the configs that ship.
    """
    path = pathlib.Path(name)
    if path.is_file():
        return str(path)
    package = pathlib.Path(__file__).parent
    folders = (package / "configs", package.parent / "configs")  # installed, checkout
    for folder in folders:
        if (folder / path.name).is_file():
            return str(folder / path.name)
    shipped = sorted({file.name for folder in folders for file in folder.glob("[!_]*.py")})
    raise InputError(f"--config: there is no file {name}; with the package come {', '.join(shipped)}")


def check_config(config: ml_collections.ConfigDict) -> None:
    """Checks every field: none unknown, none missing, each of its type. Cheap, so that it comes before everything.

    Raises:
      InputError: the field's dotted name, what was expected and, for a typo, the nearest known name.
    """
    task = config.get("task")
    if task not in TASKS:
        raise InputError(f"config.task must be one of {', '.join(sorted(TASKS))}, got {task!r}")
    if not isinstance(config.get("seed"), int):
        raise InputError(f"config.seed must be a whole number, got {config.get('seed')!r}")
    known: dict[str, Any] = {name: SECTIONS[name] for name in TASKS[task]}
    values = {name: value for name, value in config.items() if name not in ("task", "seed")}
    _check(values, known, "config")


def _check(values: Mapping[str, Any], known: Mapping[str, Any], place: str) -> None:
    for name in values:
        if name not in known:
            raise InputError(f"{place}.{name}: there is no such field{_nearest(name, known)}")
    for name, expected in known.items():
        if name not in values:
            raise InputError(f"{place}.{name} is missing")
        value = values[name]
        if isinstance(expected, Field):
            if not expected.accepts(value):
                raise InputError(f"{place}.{name} must be {expected.expected}, got {value!r}")
        elif hasattr(value, "items"):
            _check(value, expected, f"{place}.{name}")
        else:
            raise InputError(f"{place}.{name} must be a section with {', '.join(expected)}, got {value!r}")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
