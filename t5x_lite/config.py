"""Configs: found by path or name, loaded, changed by flags, and checked against `config_tasks`."""

from __future__ import annotations

import ast
import difflib
import pathlib
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from t5x_lite.config_fields import SEED, Field, Named
from t5x_lite.config_tasks import MESHES, TASKS
from t5x_lite.errors import InputError

_PACKAGE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # of a wheel, of a checkout


def shipped_configs() -> list[pathlib.Path]:
    """The config files that come with the package, by name."""
    found = {file.name: file for folder in reversed(_FOLDERS) for file in folder.glob("[!_]*.py")}
    return [found[name] for name in sorted(found)]


def find_config_file(name: str) -> pathlib.Path:
    """The config given by its path, or by the name of one that ships ("quickstart.py", "configs/quickstart.py").

    Raises:
      InputError: no such file, with the configs that ship.
    """
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        return path
    shipped = {file.name: file for file in shipped_configs()}
    if str(path.parent) in (".", "configs") and path.name in shipped:
        return shipped[path.name]
    raise InputError(
        f"--config: there is no file {name}; with the package come {', '.join(shipped)}"
    )


def load_config(spec: str, overrides: Mapping[str, str]) -> ConfigDict:
    """The locked, checked config of `FILE.py[:ARGUMENT]`, some of its fields changed.

    Args:
      spec: a path or the name of a shipped config; what follows the first colon goes to its `get_config`.
      overrides: dotted name -> value as text, `{"optimizer.b1": "0.8"}`: a Python literal, or, for a field that holds
        text, the text itself. Mappings (`generation`, ...) may get new keys. `mesh` takes the name of one, too.

    Raises:
      InputError: the file is missing or fails (with its line), or a field is unknown, missing or of the wrong type;
        the message names the file, or the flag that set the field.
    """
    name, colon, argument = spec.partition(":")
    file = find_config_file(name)
    config = _run(file, *([argument] if colon else []))
    _unshare(config, set())
    for field, text in overrides.items():
        _override(config, field, _mesh_by_name(text) if field == "mesh" else text)

    def origin(field: str) -> str:
        flags = [name for name in overrides if f"{name}.".startswith(f"{field}.")]
        flags += [name for name in overrides if f"{field}.".startswith(f"{name}.")]
        return f"--config.{field}" if flags else f"{file}: config.{field}"

    check_config(config, origin)
    return config.lock()


def check_config(config: ConfigDict, origin: Callable[[str], str] = "config.{}".format) -> None:
    """Checks every field: none unknown, none missing, each of its type. Cheap, so that it comes before everything.

    Args:
      config: a whole config; `config.task` says which fields there are.
      origin: what messages call a field, from its dotted name.

    Raises:
      InputError: the field's name, what was expected and, for a typo, the nearest known name.
    """
    task = config.get("task")
    if task not in TASKS:
        raise InputError(
            f"{origin('task')} must be one of {', '.join(sorted(TASKS))}, got {task!r}"
        )
    known = {"task": Field("a task", lambda v: True), "seed": SEED, **TASKS[task]}
    _check(config, known, "", origin)


def _check(
    values: Mapping[str, Any], known: Mapping[str, Any], place: str, origin: Callable[[str], str]
) -> None:
    for name in values:
        if name not in known:
            raise InputError(
                f"{origin(place + name)}: there is no such field{_nearest(name, known)}"
            )
    for name, expected in known.items():
        field = origin(place + name)
        if name not in values:
            raise InputError(f"{field} is missing")
        value = values[name]
        if isinstance(expected, Field):
            if not expected.accepts(value):
                raise InputError(f"{field} must be {expected.expected}, got {_plain(value)!r}")
        elif isinstance(expected, Named):
            if not isinstance(value, ConfigDict):
                raise InputError(f"{field} must be a section of named sections, got {value!r}")
            sections = dict.fromkeys(value, expected.fields)
            _check(value, sections, f"{place}{name}.", origin)
        elif isinstance(value, ConfigDict):
            _check(value, expected, f"{place}{name}.", origin)
        else:
            raise InputError(f"{field} must be a section with {', '.join(expected)}, got {value!r}")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, ConfigDict) else value


def _run(file: pathlib.Path, *arguments: str) -> ConfigDict:
    """What the file's `get_config` returns. The file is the user's code, so whatever it raises is bad input."""
    module = types.ModuleType("t5x_lite_config")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses look up the types of a class
    try:
        # Not by an import: that would leave __pycache__ beside the file.
        exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
        config = module.get_config(*arguments)
    except SyntaxError as error:
        raise InputError(f"{error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)
        ]
        place = f"{file}:{lines[-1]}" if lines else str(file)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise InputError(f"{place}: {kind}{' '.join(str(error).split())}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"{file}: get_config must return an ml_collections.ConfigDict, got {config!r:.80}"
        )
    return config


def _unshare(section: ConfigDict, seen: set[int]) -> None:
    """Gives each field a section of its own: a dict that a config file puts in two places is one section to
    ml_collections, and a flag that changes the one would change the other.
    """
    with section.unlocked():
        for name, value in section.items():
            if not isinstance(value, ConfigDict):
                continue
            if id(value) in seen:
                section[name] = value.copy_and_resolve_references()
            seen.add(id(section[name]))
            _unshare(section[name], seen)


def _mesh_by_name(text: str) -> str:
    """The sizes that a mesh's name stands for, as text; other text as it is. The config then holds the sizes."""
    if text in MESHES:
        return str(MESHES[text])
    if not text.startswith("{"):
        raise InputError(
            f"--config.mesh must be one of {', '.join(MESHES)}, or give --config.mesh.data and so on; got {text!r}"
        )
    return text


def _override(config: ConfigDict, field: str, text: str) -> None:
    """Sets a field, known or not: `check_config` judges the result."""
    *sections, name = field.split(".")
    with config.unlocked(), config.ignore_type():
        section = config
        for part in sections:
            if part not in section:
                section[part] = ConfigDict()
            section = section[part]
            if not isinstance(section, ConfigDict):
                raise InputError(f"--config.{field}: {part} is not a section, it holds {section!r}")
        section[name] = _parse(text, section.get(name))


def _parse(text: str, current: Any) -> Any:
    """The value that a flag's text means for a field that holds `current`."""
    if isinstance(current, str):
        return text
    if isinstance(current, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    if isinstance(current, float) and type(value) is int:
        return float(value)
    if isinstance(value, dict):
        return ConfigDict(value)
    return tuple(value) if isinstance(value, list) else value
