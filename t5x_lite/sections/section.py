"""Sections: what a config may hold, each field declared once, with its type, its bounds and what it means.

A section is a frozen dataclass without defaults:

    class Schedule(Section):
        name: Annotated[Literal["constant", "cosine"], "How the rate goes on after the warm-up."]
        warmup_steps: Annotated[int, AtLeast(0), "Steps over which the rate rises."]

A field is a bool, int, float, str, a choice (`Literal`), a tuple or mapping of them, another section, a mapping of the
user's own names to sections (`Mapping[str, Section]`), or one of several sections that a field tells apart (`ByKind`).
`read` makes a section of plain values, and `to_dict` is its inverse. Nothing else needs to check them: one that is made
by hand is held to its declarations, too.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from t5x_lite.errors import InputError
from t5x_lite.sections.elsewhere import CALLED_HERE
from t5x_lite.sections.kinds import ByKind, Expected, Name, Rule, Seed

Origin = Callable[[str], str]  # what messages call a field, from its dotted name


@typing.dataclass_transform(frozen_default=True)
class Section:
    """What sections derive from: each is a frozen dataclass, checked when it is made.

    name: what messages call one that is made by hand, e.g. "optimizer".

    Raises:
      InputError: a field of another type or out of bounds.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _name: ClassVar[str] = "config"

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._name = name or cls._name
        dataclasses.dataclass(frozen=True)(cls)

    def __post_init__(self) -> None:
        for field, declared in fields(type(self)).items():
            _convert(declared, getattr(self, field), f"{self._name}.{field}")


C = TypeVar("C", bound="Config")


class Config(Section):
    """The sections of a task.

    FREE: the sections (by dotted name, * for any name) that may change when a run goes on: what is trained does not
      depend on them, rounding aside.
    differences: the fields whose values are not those of the base that its recipe names, with both values; {} for a
      config that no recipe made.
    """

    task: Annotated[Name, "What runs: a folder of t5x_lite/tasks/."]
    seed: Annotated[Seed, "Of every random draw of the run."]

    FREE: ClassVar[tuple[str, ...]] = (
        *("mesh", "logging", "checkpoint", "divergence", "stop_after", "stop_on_preemption"),
        # They shape the report alone, and its curves.
        *("evaluation.samples", "evaluation.bootstrap_samples", "evaluation.at_start"),
        *("evaluation.beside_rouge", "evaluation.bertscore_source"),
    )
    differences: ClassVar[Mapping[str, tuple[Any, Any]]] = types.MappingProxyType({})

    def with_differences(self: C, differences: Mapping[str, tuple[Any, Any]]) -> C:
        """This config, which remembers them: of how it was written, not of what it says."""
        object.__setattr__(self, "differences", dict(differences))
        return self


@dataclasses.dataclass(frozen=True)
class Declared:
    """A field as it is declared. kind: its type, without notes. rules, doc, choices: the notes."""

    kind: Any
    rules: tuple[Rule, ...]
    doc: str
    choices: ByKind | None

    @property
    def section_of(self) -> Any:
        """What reads the values of a mapping of named sections; None for other fields."""
        if typing.get_origin(self.kind) is not Mapping:
            return None
        inner = _field(typing.get_args(self.kind)[1])
        return inner if inner.choices or dataclasses.is_dataclass(inner.kind) else None

    @property
    def words(self) -> str:
        if self.choices:
            return f"a section with {self.choices.tag}"
        return _words(self.kind, self.rules)


class _Mismatch(Exception):
    """A value that is not of the type."""


class _TooLarge(_Mismatch):
    """A whole number that no array counts to."""


S = TypeVar("S")


def read(cls: type[S], values: Any, origin: Origin = "config.{}".format) -> S:
    """The section that plain values describe: exactly its fields, each of its type and within its bounds.

    Args:
      cls: a section, e.g. the `Config` of a task.
      values: a mapping, nested as the sections are (a `ConfigDict` is one). Lists become tuples, whole numbers floats
        where a float is asked for.
      origin: what messages call a field, from its dotted name.

    Raises:
      InputError: an unknown field (with the nearest known name), one that is missing, of another type or out of bounds,
        or values that contradict each other.
    """
    return _read(cls, values, "", origin)


def to_dict(section: Any) -> dict[str, Any]:
    """The plain values that `read` makes the section of: nested dicts, tuples, numbers, strings."""
    if hasattr(section, "given_values"):
        return dict(section.given_values)
    return {
        name: _plain_of(field, getattr(section, name))
        for name, field in fields(type(section)).items()
    }


def fields(cls: Any) -> Mapping[str, Declared]:
    """The declared fields of a section, by name."""
    return _fields(cls)


@functools.cache
def _fields(cls: Any) -> Mapping[str, Declared]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _field(hints[field.name]) for field in dataclasses.fields(cls)}


def _field(kind: Any) -> Declared:
    notes: tuple[Any, ...] = ()
    if typing.get_origin(kind) is Annotated:
        kind, *rest = typing.get_args(kind)
        notes = tuple(rest)
    return Declared(
        kind,
        tuple(note for note in notes if isinstance(note, Rule)),
        next((note for note in reversed(notes) if isinstance(note, str)), ""),
        next((note for note in notes if isinstance(note, ByKind)), None),
    )


def _read(cls: type[S], values: Any, place: str, origin: Origin, having: str = "") -> S:
    """having: the tag that chose the section, for messages."""
    known = fields(cls)
    if not _is_mapping(values):
        raise InputError(
            f"{origin(place) if place else 'config'} must be a section with {', '.join(known)},"
            f" got {plain(values)!r}"
        )
    prefix = f"{place}." if place else ""
    for name in values:
        if name not in known:
            raise InputError(
                f"{origin(prefix + name)}: there is no such field"
                f"{_nearest(name, known, having, _below(cls, prefix, name))}"
            )
    if missing := [name for name in known if name not in values]:
        first, *others = missing
        verb = "are" if others else "is"
        raise InputError(f"{', '.join([origin(prefix + first), *others])} {verb} missing")
    found = {
        name: _read_field(field, values[name], prefix + name, origin)
        for name, field in known.items()
    }
    with _placed(place, origin):
        return cls(**found)


def _read_field(field: Declared, value: Any, place: str, origin: Origin) -> Any:
    if field.choices:
        return _read_by_kind(field.choices, value, place, origin)
    if hasattr(field.kind, "from_mapping"):
        if not _is_mapping(value):
            raise InputError(f"{origin(place)} must be a mapping, got {value!r}")
        return field.kind.from_mapping(plain(value), where=origin(place))
    if dataclasses.is_dataclass(field.kind):
        return _read(typing.cast(Any, field.kind), value, place, origin)
    if inner := field.section_of:
        if not _is_mapping(value):
            raise InputError(
                f"{origin(place)} must be a section of named sections, got {plain(value)!r}"
            )
        return {name: _read_field(inner, value[name], f"{place}.{name}", origin) for name in value}
    return _convert(field, value, origin(place))


def _read_by_kind(choices: ByKind, value: Any, place: str, origin: Origin) -> Any:
    if not _is_mapping(value):
        raise InputError(
            f"{origin(place)} must be a section with {choices.tag}, got {plain(value)!r}"
        )
    kind = value.get(choices.tag)
    if not isinstance(kind, str) or kind not in choices.kinds:
        raise InputError(
            f"{origin(f'{place}.{choices.tag}')} must be one of {', '.join(choices.kinds)}, got {kind!r}"
        )
    cls = choices.kinds[kind]
    rest = {name: value[name] for name in value if name != choices.tag}
    return _read(cls, rest, place, origin, f"with {choices.tag} {kind!r} ")


class _placed:
    """Lets what a section says of its own fields ("loss.beta must be ...") name the file or flag they came from."""

    def __init__(self, place: str, origin: Origin):
        self._place, self._origin = place, origin

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, InputError):
            where = self._origin(self._place) if self._place else "config"
            raise at_place(error, self._place.rpartition(".")[2], where) from None


def at_place(error: InputError, name: str, where: str) -> InputError:
    """What a section called `name` says of itself or its fields, with `where` it came from in place of its name.

    >>> str(at_place(InputError("model.d_ff must be more"), "model", "config.model.architecture"))
    'config.model.architecture.d_ff must be more'
    """
    message = str(error)
    rest = message.removeprefix(name)
    if name and rest != message and rest[:1] in (".", ":"):
        return InputError(f"{where}{rest}")
    return InputError(f"{where}: {message}" if name else message)


def _convert(field: Declared, value: Any, where: str) -> Any:
    try:
        return _converted(field.kind, field.rules, value)
    except _TooLarge:
        raise InputError(
            f"{where} must be {field.words} within 32 bits (to 2,147,483,647), got {_shown(value)}"
        ) from None
    except _Mismatch:
        raise InputError(f"{where} must be {field.words}, got {_shown(value)}") from None


def _shown(value: Any) -> str:
    try:
        return repr(plain(value))
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"


def _converted(kind: Any, rules: Iterable[Rule], value: Any) -> Any:
    found = _of_type(kind, value)
    if not all(rule.accepts(found) for rule in rules):
        raise _Mismatch
    return found


def _of_type(kind: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _converted(inner[0], [note for note in inner[1:] if isinstance(note, Rule)], value)
    if kind is Any:
        return plain(value)
    if origin in (typing.Union, types.UnionType):
        for one in inner:
            try:
                return _of_type(one, value)
            except _Mismatch:
                continue
    elif origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif origin is tuple:
        if isinstance(value, (tuple, list)):
            kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
            if len(kinds) == len(value):
                return tuple(map(_of_type, kinds, value))
    elif origin is Mapping:
        if _is_mapping(value) and all(isinstance(name, str) for name in value):
            return {name: _of_type(inner[1], value[name]) for name in value}
    elif kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if (
            number and abs(value) <= sys.float_info.max
        ):  # neither NaN, infinite, nor a larger whole number
            return float(value)
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        if kind is int and abs(value) >= 1 << 31:
            raise _TooLarge
        if kind is str and any("\ud800" <= character <= "\udfff" for character in value):
            raise _Mismatch  # half a surrogate pair: no encoding takes it
        return value
    raise _Mismatch


_TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}


def _words(kind: Any, rules: Iterable[Rule]) -> str:
    if special := [rule.words for rule in rules if isinstance(rule, Expected)]:
        return special[-1]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        text = "one of " + ", ".join(map(repr, inner))
    elif origin is tuple:
        text = f"a tuple of {_TYPES[inner[0]].removeprefix('a ')}s"
    elif origin is Mapping:
        text = "a mapping"
    else:
        text = _TYPES.get(kind, "a value")
    return " ".join([text, " and ".join(rule.words for rule in rules)]).strip()


def _plain_of(field: Declared, value: Any) -> Any:
    if field.choices:
        return {field.choices.tag: field.choices.kind_of(value), **to_dict(value)}
    if dataclasses.is_dataclass(field.kind):
        return to_dict(value)
    if inner := field.section_of:
        return {name: _plain_of(inner, one) for name, one in value.items()}
    return plain(value)


def plain(value: Any) -> Any:
    """Mappings as dicts, sequences as tuples, through and through."""
    if _is_mapping(value):
        return {name: plain(value[name]) for name in value}
    return tuple(map(plain, value)) if isinstance(value, (tuple, list)) else value


def _is_mapping(value: Any) -> bool:
    return hasattr(value, "items")  # a ConfigDict is no collections.abc.Mapping


def _below(cls: Any, prefix: str, name: str) -> list[str]:
    """The whole names of fields called `name`, here or by other programs, in the sections below this one."""
    from t5x_lite.sections.described import describe  # which reads what is declared here

    named = [field.name for field in describe(cls)]
    return [
        prefix + field
        for field in named
        if field.endswith(f".{name}") or prefix + field == CALLED_HERE.get(name)
    ]


def _nearest(name: str, known: Iterable[str], having: str, below: Sequence[str]) -> str:
    close = list(dict.fromkeys(below)) or difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {' or '.join(close[:3])}?"
    return f"; {having}there are {', '.join(sorted(known)) or 'none'}"
