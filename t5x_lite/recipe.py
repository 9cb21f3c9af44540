"""Recipes: config files that name a whole config, their base, and say what differs from it.

    get_config = recipe(
        "finetune",
        {"model.source": "nano", "schedule.learning_rate": 1e-3},
        words={"lora": {"adapter": LORA, "train.trainable": "adapters"}},
    )

is a config file's `get_config(argument)`; the argument is words with commas between: `mine.py:lora,runlocal`. A base
has every field of its task (configs/bases/), and may bring words that all its recipes have. What is laid over what,
the later over the earlier:

1. the base; where that is a recipe, what this one is made of
2. the recipe's overrides
3. of the words that were given, those that are mappings, in the order in which they are declared (the base's first):
   the order in the argument says nothing
4. those that are functions, in the same order: they see the config as it then is
5. `derived`: what follows from all the rest
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import pathlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from ml_collections import ConfigDict

from t5x_lite.errors import InputError

Overrides = Mapping[str, Any]
Layer = Overrides | Callable[..., Overrides]
Derived = Callable[[ConfigDict, tuple[str, ...]], Overrides]

_PACKAGE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")  # of a wheel, of a checkout


class Difference(NamedTuple):
    """A field that is not as in the base; None where the one or the other has no such field."""

    base: Any
    value: Any


class _Source(NamedTuple):
    """Who lays something over the base: what origins call it, and the file and line that messages name."""

    name: str
    file: pathlib.Path
    line: int


_Sourced = tuple[Layer, _Source]


class _Written(NamedTuple):
    """What a config keeps of how it was written."""

    base: Mapping[str, Any]
    origins: Mapping[str, str]


def recipe(
    base: str | Overrides,
    overrides: Overrides,
    words: Mapping[str, Layer | tuple[Layer, ...]] | None = None,
    derived: Derived | None = None,
) -> Recipe:
    """A config file's `get_config`: a base, and what differs.

    Args:
      base: the name of a whole config of configs/bases/ ("finetune"), a recipe file ("lab2_finetune.py", a path; those
        beside this file first), or a whole config. A recipe's words come along.
      overrides: dotted name -> value, fields that the base has. A mapping replaces a section as a whole.
      words: what each word of the argument changes: overrides, a function of the config that returns them, or a tuple
        of such layers. A word of the base is extended. A key may ask for a value: "dialogsum=FOLDER" is given as
        `dialogsum=data`, and "FOLDER", in capitals, takes any other word; both are functions of that text alone.
      derived: a function of the config and of the words as they were given that returns overrides.

    Raises:
      InputError: no such base; an override names a field that the base does not have (with its file and line).
    """
    frame = sys._getframe(1)
    file = pathlib.Path(frame.f_code.co_filename)
    here = _Source(f"recipe {file.name}", file, frame.f_lineno)
    result = _open_base(base, file).copy()
    _lay(result, overrides, here)
    for key, layers in (words or {}).items():
        of_word = here._replace(name=f"word {key.partition('=')[0]}")
        result.words.setdefault(key, []).extend(_sourced(layers, of_word))
    if derived:
        result.derived.append((derived, here))
    return result


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What `recipe` returns; calling it with an argument gives the config."""

    base_name: str
    base: Mapping[str, Any]  # the whole config at the root
    values: dict[str, Any]  # overrides laid over it
    origins: dict[str, str]
    words: dict[str, list[_Sourced]]
    derived: list[tuple[Derived, _Source]]

    def __call__(self, argument: str = "") -> ConfigDict:
        """The config that words with commas between make of the recipe.

        Raises:
          InputError: a word is unknown, contradicts another, or names a field that is not there.
        """
        given = _given(argument, self.words)
        result = self.copy()
        plain = {
            text: list(_mappings(self.words[key], value)) for text, (key, value) in given.items()
        }
        _refuse_contradictions(plain)
        order = list(self.words)
        texts = sorted(given, key=lambda text: order.index(given[text][0]))
        for text in texts:
            for overrides, source in plain[text]:
                _lay(result, overrides, source)
        for text in texts:
            key, value = given[text]
            for layer, source in self.words[key] if value is None else ():
                if callable(layer):
                    _lay(result, layer(ConfigDict(result.values)), source)
        for function, source in self.derived:
            _lay(result, function(ConfigDict(result.values), tuple(given)), source)
        config = ConfigDict(result.values)
        object.__setattr__(config, "_written", _Written(self.base, result.origins))
        return config

    def copy(self) -> Recipe:
        """One that can be changed without changing this one."""
        return dataclasses.replace(
            self,
            values=copy.deepcopy(self.values),
            origins=dict(self.origins),
            words={key: list(layers) for key, layers in self.words.items()},
            derived=list(self.derived),
        )


def open_recipe(file: pathlib.Path) -> Recipe | None:
    """The recipe of a config file, before any word is laid over it; None where it makes its config otherwise."""
    found = getattr(_execute(file), "get_config", None)
    return found if isinstance(found, Recipe) else None


def origins(config: ConfigDict) -> Mapping[str, str]:
    """Where each field's value was written: dotted name -> "base finetune", "recipe quickstart.py", "word lora".

    A config that no recipe made has none, nor has a copy. What is set later, by a flag, is not seen.
    """
    return getattr(config, "_written", _Written({}, {})).origins


def differences(config: ConfigDict) -> dict[str, Difference]:
    """The fields whose values, as they are now, are not those of the base: dotted name -> both values.

    A config that no recipe made has none, nor has a copy.
    """
    written = cast("_Written | None", getattr(config, "_written", None))
    if written is None:
        return {}
    of_base, now = dict(_leaves(written.base)), dict(_leaves(config.to_dict()))
    # An empty mapping is a leaf; where the other side has filled it, its fields say so.
    for one, other in ((of_base, now), (now, of_base)):
        for name in [name for name, value in one.items() if value == {}]:
            if any(filled.startswith(f"{name}.") for filled in other):
                del one[name]
    return {
        name: Difference(of_base.get(name), now.get(name))
        for name in [*now, *(name for name in of_base if name not in now)]
        if name not in now or name not in of_base or now[name] != of_base[name]
    }


def load_base(name: str) -> types.ModuleType:
    """The file of configs/bases/ by its name: a base, or what bases and recipes share ("shared").

    Raises:
      InputError: there is none, with those that there are.
    """
    for folder in _FOLDERS:
        if (file := folder / "bases" / f"{name}.py").is_file():
            return _execute(file)
    known = sorted({file.stem for folder in _FOLDERS for file in folder.glob("bases/*.py")})
    file_name, _, word = name.partition(":")
    if word:
        raise InputError(
            f"{name!r} is no base: name {file_name!r} without words, and start your recipe with :{word} behind its"
            " name, or set what that word sets"
        )
    raise InputError(f"there is no base {name!r}: give {', '.join(known)}, or a recipe's FILE.py")


def _open_base(base: str | Overrides, beside: pathlib.Path) -> Recipe:
    """A base as a recipe without a parent, or the recipe of a file."""
    if isinstance(base, str) and base.endswith(".py"):
        places = [beside.parent / base, *(folder / base for folder in _FOLDERS), pathlib.Path(base)]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise InputError(f"there is no recipe {base}")
        found = getattr(_execute(file), "get_config", None)
        if not isinstance(found, Recipe):
            raise InputError(f"{base} is no base: it has no get_config = recipe(...)")
        return found
    words: Mapping[str, Any] = {}
    name, file = "of its own", beside
    if isinstance(base, str):
        module = load_base(base)
        name, file = base, pathlib.Path(str(module.__file__))
        base, words = module.BASE, getattr(module, "WORDS", {})
    whole = _plain(base)
    return Recipe(
        base_name=name,
        base=whole,
        values=whole,
        origins={field: f"base {name}" for field, _ in _leaves(whole)},
        words={
            key: list(_sourced(layers, _Source(f"word {key}", file, 1)))
            for key, layers in words.items()
        },
        derived=[],
    )


def _sourced(layers: Layer | tuple[Layer, ...], source: _Source) -> Iterator[_Sourced]:
    for layer in layers if isinstance(layers, tuple) else (layers,):
        yield layer, source


def _execute(file: pathlib.Path) -> types.ModuleType:
    """The file's module. Not by an import: a config is no part of a package, and is read anew when it was edited."""
    module = types.ModuleType(f"t5x_lite_{file.parent.name}_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses look up the types of a class
    exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    return module


def _given(argument: str, words: Mapping[str, list[_Sourced]]) -> dict[str, tuple[str, str | None]]:
    """The argument's words as they stand there -> the key that declares each, and its value."""
    valued = {key.partition("=")[0]: key for key in words if "=" in key}
    free = next((key for key in words if key.isupper()), None)
    result: dict[str, tuple[str, str | None]] = {}
    for text in filter(None, argument.split(",")):
        name, equals, value = text.partition("=")
        if equals and name in valued and value:
            found: tuple[str, str | None] = valued[name], value
        elif text in words and "=" not in text and text != free:
            found = text, None
        elif free and not equals:
            found = free, text
        else:
            raise InputError(f"unknown argument {text!r}: give {_choices(words)}")
        before = [other for other, (key, _) in result.items() if key == found[0] and other != text]
        if before:
            raise InputError(f"unknown argument {text!r} after {before[0]!r}: give one {found[0]}")
        result[text] = found
    return result


def _choices(words: Mapping[str, list[_Sourced]]) -> str:
    """All words, those that a base brings behind a recipe's own."""
    if not words:
        return "none"
    *head, last = sorted(words, key=lambda key: words[key][0][1].file.parent.name == "bases")
    return f"none, or {', '.join(head)} or {last}" if head else f"none, or {last}"


def _mappings(layers: list[_Sourced], value: str | None) -> Iterator[tuple[Overrides, _Source]]:
    """The layers of a word that do not depend on the config."""
    for layer, source in layers:
        if value is not None and callable(layer):
            yield layer(value), source
        elif not callable(layer):
            yield layer, source


def _refuse_contradictions(given: Mapping[str, list[tuple[Overrides, _Source]]]) -> None:
    """Two words that would give a field two values."""
    merged = {
        text: {name: value for overrides, _ in layers for name, value in overrides.items()}
        for text, layers in given.items()
    }
    for number, (text, overrides) in enumerate(merged.items()):
        for other, others in list(merged.items())[number + 1 :]:
            field = _contradiction(overrides, others) or _contradiction(others, overrides)
            if field:
                raise InputError(
                    f"{text} and {other} exclude each other (both set {field}): give one of them"
                )


def _contradiction(overrides: Overrides, others: Overrides) -> str:
    """A field of `others` that `overrides` sets otherwise, or ""."""
    for name, value in others.items():
        *sections, last = name.split(".")
        for depth in range(len(sections) + 1):
            section = ".".join([*sections, last][: depth + 1])
            if section not in overrides:
                continue
            found = overrides[section]
            for part in [*sections, last][depth + 1 :]:
                found = found.get(part) if isinstance(found, Mapping) else None
            if found != value:
                return name
    return ""


def _lay(over: Recipe, overrides: Overrides, source: _Source) -> None:
    """Sets fields of `over.values`, and notes from where they come."""
    for name, value in overrides.items():
        *sections, field = name.split(".")
        section: Any = over.values
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or field not in section:
            raise InputError(_no_such_field(over, name, source))
        section[field] = value = _plain(value)
        below = f"{name}."
        for old in [old for old in over.origins if old == name or old.startswith(below)]:
            del over.origins[old]
        leaves = _leaves(value, below) if isinstance(value, dict) and value else ((name, value),)
        over.origins.update((leaf, source.name) for leaf, _ in leaves)


def _no_such_field(over: Recipe, name: str, source: _Source) -> str:
    known = sorted({leaf for leaf, _ in _leaves(over.values)})
    sections = {leaf.rpartition(".")[0] for leaf in known} - {""}
    close = difflib.get_close_matches(name, [*known, *sections], n=1)
    hint = f"; did you mean {close[0]}?" if close else "; a section is replaced as a whole"
    return (
        f"{source.name} overrides {name} ({source.file.name}:{_line_of(name, source)}),"
        f" but the base {over.base_name} has no such field{hint}"
    )


def _line_of(name: str, source: _Source) -> int:
    """Where the file has this name in quotes; else where the recipe is made."""
    if source.file.is_file():
        lines = source.file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            if f'"{name}"' in line or f"'{name}'" in line:
                return number
    return source.line


def _plain(value: Any) -> Any:
    """A copy with dicts for mappings."""
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return copy.deepcopy(value)


def _leaves(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of fields, and their values; an empty section is one."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{place}{name}.")
        else:
            yield place + name, value
