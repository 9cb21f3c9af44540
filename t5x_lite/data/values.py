"""What a row's column holds, as text: nested columns, numbers, dates, empty values, ids."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5x_lite.data.wildcards import is_pattern, spread
from t5x_lite.errors import InputError

_ITEM = re.compile(r"-?\d{1,9}", re.ASCII)
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_MISSING = ("NAType", "NaTType")  # pandas', told by name: pandas is not needed to read a file
_SHOWN = 30
# Byte order marks and spaces without width, which editors and web pages leave.
UNSEEN = "\ufeff\u200b\u2060"


def find(record: Mapping[str, Any], column: str, place: str, field: str) -> Any:
    """The value of a column: of that name, or "translation.en" within a nested one ("answers.text.0" in a list,
    "messages.-1.content" of its last item).

    Raises:
      InputError: there is no such column; the message lists those there are.
    """
    if column in record:
        return record[column]
    value: Any = record
    for key in column.split("."):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and _ITEM.fullmatch(key) and _is_there(key, value):
            value = value[int(key)]
        elif value is None:
            return None
        else:
            other = "id_column=..." if field == "id" else f"columns={{{field!r}: ...}}"
            raise InputError(
                f"{place}: no column {column!r} (for {field!r}); there are {', '.join(names(record))}: name one by"
                f" {other}"
            )
    return value


def _is_there(key: str, items: Sequence[Any]) -> bool:
    return -len(items) <= int(key) < len(items)


def has(record: Mapping[str, Any], column: str) -> bool:
    """Whether `find` finds that column, or one that a pattern stands for."""
    if is_pattern(column, record):
        return bool(spread(record, column))
    try:
        find(record, column, "", "")
    except InputError:
        return False
    return True


def names(record: Mapping[str, Any]) -> list[str]:
    """The columns of a record, nested ones as `find` takes them."""
    found = list(_names(record, ""))
    return [*found[:_SHOWN], "…"] if len(found) > _SHOWN else found


def _names(record: Mapping[str, Any], before: str) -> Iterator[str]:
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from _names(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


def as_text(value: Any, place: str, column: str) -> str:
    """The value as text, "" where it is missing (None, NaN, pandas' NA and NaT).

    Text as it is (lone halves of a surrogate pair as U+FFFD), also in bytes of UTF-8, numbers as Python writes them,
    dates in ISO 8601.

    Raises:
      InputError: a list, a mapping, other bytes, or whatever else has no text of its own.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{place}: column {column!r} holds bytes that are no UTF-8; expected text"
            ) from error
    if isinstance(value, str):
        return whole_characters(value)
    if value is None or type(value).__name__ in _MISSING:
        return ""
    if isinstance(value, numbers.Number | decimal.Decimal):
        return "" if value != value else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    way_out = ""
    if isinstance(value, Mapping) and value:
        way_out = f"; name what is in it, e.g. {column}.{next(iter(value))}"
    elif isinstance(value, list | tuple):
        # A conversation's last turn is what it is about.
        turns = value and all(isinstance(item, Mapping) and "content" in item for item in value)
        item = f"{column}.-1.content" if turns else f"{column}.0"
        way_out = f"; name one item, e.g. {item}, all as a row each, {column}.*, or join them first"
    raise InputError(
        f"{place}: column {column!r} holds a {type(value).__name__}; expected text{way_out}"
    )


def list_as_text(value: Any, place: str, column: str) -> str:
    """A list of values as a JSON list of their texts (`as_text`); "" where it is missing.

    value: the list, or a text that is one in JSON.

    Raises:
      InputError: neither, or an item that has no text of its own.
    """
    if isinstance(value, str) and value.strip():
        with contextlib.suppress(ValueError, RecursionError):  # told below
            value = json.loads(value)
    if isinstance(value, list | tuple):
        items = [as_text(item, place, f"{column}.{number}") for number, item in enumerate(value)]
        return json.dumps(items, ensure_ascii=False)
    if as_text(value, place, column) == "":
        return ""
    raise InputError(
        f'{place}: column {column!r} must hold a list, or one in JSON, ["yes", "no"]; found {str(value)[:80]!r}'
    )


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen in a text."""
    text = text.strip()
    return not text or (text[0] in UNSEEN and not "".join(text.split()).strip(UNSEEN))


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair that stands alone (JSON's "\\ud83d"): no encoding has
    such.
    """
    if not text or max(text) < "\ud800":
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def id_text(value: Any, place: str, column: str) -> str:
    """An id as text: pandas makes 7.0 of the whole number 7 where another row has none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(value, place, column)


def id_key(text: str) -> str:
    """By what two ids are the same: 7, "7", " 7" and 7.0 are.

    >>> {id_key(text) for text in ("7", " 7", "7.0")}
    {'7'}
    """
    text = text.strip()
    return match[1] if (match := _WHOLE.fullmatch(text)) else text
