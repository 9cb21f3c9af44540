"""Configs: found by path or name, loaded, changed by flags, and read into the sections of their task."""

from __future__ import annotations

import ast
import difflib
import pathlib
import sys
import traceback
import types
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ml_collections import ConfigDict

from t5x_lite.errors import InputError
from t5x_lite.parallel.sections import MESHES
from t5x_lite.recipe import differences, origins
from t5x_lite.sections import Config, Origin, describe, plain, read

_PACKAGE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # of a wheel, of a checkout
_NEAR = 0.7  # of a name that is a slip: "do_train" is none of "dora"


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
    close = difflib.get_close_matches(f"{path.stem}.py", shipped, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else f"with the package come {', '.join(shipped)}"
    raise InputError(f"--config: there is no file {name}; {hint}")


def load_config(spec: str, overrides: Mapping[str, Any], *, as_values: bool = False) -> Any:
    """The checked config of `FILE.py[:ARGUMENT]`, some of its fields changed: a `Config` of its task's sections.

    Args:
      spec: a path or the name of a shipped config; what follows the first colon goes to its `get_config`.
      overrides: dotted name -> value as text, `{"optimizer.b1": "0.8"}`: a Python literal, or, for a field that holds
        text, the text itself. Mappings (`generation`, ...) may get new keys. `mesh` takes the name of one, too.
      as_values: the values are Python values, as Python code gives them, and no text is read as anything else.

    Raises:
      InputError: the file is missing or fails (with its line), or a field is unknown, missing or of the wrong type;
        the message names the file, or the flag that set the field.
    """
    return _load(spec, overrides, as_values)[1]


def load_values(spec: str, overrides: Mapping[str, str]) -> ConfigDict:
    """What `load_config` reads, once checked, for a config that builds on another one: it may be changed.

    Raises:
      InputError: as `load_config`.
    """
    return _load(spec, overrides)[0]


def read_config(values: Any, origin: Origin = "config.{}".format) -> Any:
    """`sections.read` of a whole config; its `task` says which fields there are.

    Raises:
      InputError: no such task; as `sections.read`.
    """
    task = values.get("task")
    if task not in tasks():
        raise InputError(f"{origin('task')} must be one of {', '.join(tasks())}, got {task!r}")
    return read(config_of(task), values, origin)


def tasks() -> list[str]:
    """The tasks that there are: each a folder that declares its sections."""
    return sorted(file.parent.name for file in (_PACKAGE / "tasks").glob("*/sections.py"))


def config_of(task: str) -> type[Config]:
    """The sections of a task. Not imported above: the tasks are the lowest room, and each imports only its own."""
    return import_module(f"t5x_lite.tasks.{task}.sections").Config


def explain_config(spec: str, overrides: Mapping[str, str]) -> str:
    """Every field of a config as a line of its value, and one of its type, its meaning and where the value is from.

    Raises:
      InputError: as `load_config`.
    """
    values, config = _load(spec, overrides)
    lines = []
    for field in describe(type(config), config):
        lines.append(f"{field.name} = {field.value!r}")
        lines.append(
            f"    {field.words}; from the {_set_by(values, overrides, field.name)}. {field.doc}"
        )
    return "\n".join(lines) + "\n"


def fields_meant(spec: str, name: str) -> list[str]:
    """The fields of a config whose own name is `name` ("learning_rate" -> ["schedule.learning_rate"]), or nearly.

    spec: as `load_config` takes it; one that cannot be loaded stands for all tasks.
    """
    try:
        known = [field.name for field in describe(type(load_config(spec, {})))]
    except InputError:
        known = [field.name for task in tasks() for field in describe(config_of(task))]
    name = name.rpartition(".")[2]
    own: dict[str, list[str]] = {}
    for field in dict.fromkeys(known):
        own.setdefault(field.rpartition(".")[2], []).append(field)
    close = [name] if name in own else difflib.get_close_matches(name, own, n=1, cutoff=_NEAR)
    return sorted(own[close[0]], key=lambda field: field.count(".")) if close else []


def _set_by(values: ConfigDict, overrides: Mapping[str, str], field: str) -> str:
    """What gave a field its value: a flag, else what its recipe says of it, else the file."""
    if _flags(overrides, field):
        return "flag"
    parts = f"{field}."  # a mapping is one field to its section, and several to a recipe
    found = [by for name, by in origins(values).items() if f"{name}.".startswith(parts)]
    return " and the ".join(dict.fromkeys(found)) or "file"


def _flags(overrides: Mapping[str, str], field: str) -> list[str]:
    """The flags that set a field, a part of it, or a section that it is in."""
    return [
        name
        for name in overrides
        if f"{name}.".startswith(f"{field}.") or f"{field}.".startswith(f"{name}.")
    ]


def _load(
    spec: str, overrides: Mapping[str, Any], as_values: bool = False
) -> tuple[ConfigDict, Any]:
    """What the file gives, changed by the flags (or Python values), and the sections that it says."""
    name, colon, argument = spec.partition(":")
    file = find_config_file(name)
    values = _run(file, *([argument] if colon else []))
    _unshare(values, set())
    for field, value in overrides.items():
        text = isinstance(value, str) and (field == "mesh" or not as_values)
        _override(values, field, _mesh_by_name(value) if field == "mesh" and text else value, text)

    def origin(field: str) -> str:
        if not _flags(overrides, field):
            return f"{file}: config.{field}"
        return f"config.{field}" if as_values else f"--config.{field}"

    return values, read_config(values, origin).with_differences(differences(values))


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


def _override(config: ConfigDict, field: str, value: Any, is_text: bool) -> None:
    """Sets a field, known or not, to a value or to what a flag's text means: `read_config` judges the result."""
    *sections, name = field.split(".")
    with config.unlocked(), config.ignore_type():
        section = config
        for part in sections:
            if part not in section:
                section[part] = ConfigDict()
            section = section[part]
            if not isinstance(section, ConfigDict):
                raise InputError(f"--config.{field}: {part} is not a section, it holds {section!r}")
        try:
            section[name] = _parse(value, section.get(name)) if is_text else plain(value)
        except (
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
        ) as error:  # names that no section has
            raise InputError(
                f"--config.{field}: {value!r:.80} names fields that no section can have ({error})"
            ) from error


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
