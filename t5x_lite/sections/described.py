"""Sections in words: every field with its type and its meaning, for `--print_config` and whoever writes a config."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from t5x_lite.sections.section import Declared, fields, to_dict


@dataclasses.dataclass(frozen=True)
class Described:
    """A field: its dotted name, its type in words, its meaning, and its value where there is one."""

    name: str
    words: str
    doc: str
    value: Any = None


def describe(cls: type, section: Any = None) -> Iterator[Described]:
    """Every field of a section and of those in it, in their order; with an instance, only those that it has, with
    their values. The user's own names read NAME where there is no instance.
    """
    yield from _describe(cls, section, "")


def _describe(cls: type, section: Any, place: str) -> Iterator[Described]:
    for name, field in fields(cls).items():
        value = None if section is None else getattr(section, name)
        yield from _describe_field(field, value, section is not None, f"{place}{name}")


def _describe_field(field: Declared, value: Any, given: bool, place: str) -> Iterator[Described]:
    if field.choices:
        tag = field.choices.tag
        words = "one of " + ", ".join(map(repr, field.choices.kinds))
        yield Described(
            f"{place}.{tag}", words, field.doc, field.choices.kind_of(value) if given else None
        )
        for cls in [type(value)] if given else field.choices.kinds.values():
            yield from _describe(cls, value, f"{place}.")
    elif hasattr(field.kind, "from_mapping"):
        doc = field.doc or (field.kind.__doc__ or "").partition("\n")[0]
        yield Described(place, "a mapping", doc, to_dict(value) if given else None)
    elif dataclasses.is_dataclass(field.kind):
        yield from _describe(typing.cast(Any, field.kind), value, f"{place}.")
    elif inner := field.section_of:
        for name in value if given else ("NAME",):
            one = value[name] if given else None
            yield from _describe_field(inner, one, given, f"{place}.{name}")
    else:
        yield Described(place, field.words, field.doc, value)
