"""Columns by a pattern: "summary*" or "references.*" stands for several, which become a row each.

Several references of one text are what this is for. DialogSum's own test file has summary1, summary2 and summary3; on
the hub the same rows stand flattened, with the ids test_0_1, test_0_2 and test_0_3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from t5x_lite.errors import InputError

_ANY = "*"


def is_pattern(column: str, record: Mapping[str, Any]) -> bool:
    """Whether a column stands for several: one with a star in its name, that the record has not by that very name."""
    return _ANY in column and column not in record


def is_wanted(name: str, wanted: Collection[str]) -> bool:
    """Whether a column of a table is among those that are wanted, by its name or a pattern."""
    return name in wanted or any(_ANY in other and _fits(name, other) for other in wanted)


def spread(record: Mapping[str, Any], column: str) -> list[str]:
    """The columns of a record that a pattern stands for, in the record's order; [] if none.

    >>> spread({"id": 3, "summary1": "a", "summary2": "b"}, "summary*")
    ['summary1', 'summary2']
    >>> spread({"references": [{"text": "a"}, {"text": "b"}]}, "references.*.text")
    ['references.0.text', 'references.1.text']
    """
    return [".".join(keys) for keys in _walk(record, column.split("."))]


def _walk(value: Any, keys: list[str]) -> Iterator[list[str]]:
    if not keys:
        yield []
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name == keys[0] or (_ANY in keys[0] and _fits(name, keys[0])):
                yield from ([name, *rest] for rest in _walk(inner, keys[1:]))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            if keys[0] in (_ANY, str(number)):
                yield from ([str(number), *rest] for rest in _walk(inner, keys[1:]))


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))


def rows_of(
    record: Mapping[str, Any], columns: Mapping[str, str], place: str
) -> list[dict[str, str]]:
    """The columns of each row that a record makes, {field: column}: the record itself, or one a match of its patterns.

    The first match of each pattern makes the first row, and so on.

    Raises:
      InputError: a pattern that nothing matches, or several that match differently often.
    """
    found = {
        field: spread(record, column)
        for field, column in columns.items()
        if is_pattern(column, record)
    }
    if not found:
        return [dict(columns)]
    for field, names in found.items():
        if not names:
            raise InputError(
                f"{place}: no column matches {columns[field]!r} (for {field!r}); there are"
                f" {', '.join(record)}: name one by columns={{{field!r}: ...}}"
            )
    if len({len(names) for names in found.values()}) > 1:
        counts = ", ".join(f"{columns[field]!r} {len(names)}" for field, names in found.items())
        raise InputError(
            f"{place}: patterns of columns must match equally often, a row each; found {counts}"
        )
    each = zip(*found.values(), strict=True)
    return [{**columns, **dict(zip(found, names, strict=True))} for names in each]
