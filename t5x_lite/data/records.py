"""What a record of a table makes: a row, or several, by the columns that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.values import as_text, find, has, id_text, is_blank, list_as_text
from t5x_lite.data.wildcards import rows_of
from t5x_lite.errors import InputError

_MAY_BE_EMPTY = "?"

Row = dict[str, str]


def may_be_empty(column: str) -> bool:
    """Whether a column is named as one that may be empty, or not there: "input?"."""
    return column.endswith(_MAY_BE_EMPTY)


def required(columns: Mapping[str, str]) -> set[str]:
    """The columns that every record must have."""
    return {column for column in columns.values() if not may_be_empty(column)}


class Mended:
    """Counts the texts that held half a surrogate pair."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def note(self, place: str) -> None:
        """Counts one."""
        self.first = self.first or place
        self.count += 1

    def report(self) -> None:
        """One warning line, if there was any."""
        if self.count:
            log.warning(
                "%d values hold half of a surrogate pair, which is no character (first at %s): each was read as"
                " U+FFFD",
                self.count,
                self.first,
            )


def make_rows(
    place: str,
    record: Mapping[str, Any],
    columns: Mapping[str, str],
    name: str,
    mended: Mended,
    lists: Collection[str],
) -> list[Row]:
    """The rows of a record: one, or one a reference where a pattern names several columns.

    Args:
      place: file and line, for messages. name: the record's id. mended: counts halves of surrogate pairs.
      lists: fields whose columns hold lists.

    Raises:
      InputError: a column that is not there, or is empty and not named as one that may be ("input?").
    """
    each = rows_of(record, columns, place)
    if each == [columns]:
        return [_row(place, record, columns, mended, lists) | {"id": name}]
    numbered = [
        (number, own)
        for number, own in enumerate(each, start=1)
        if not all(
            _is_empty(record, own[field], place) for field in own if own[field] != columns[field]
        )
    ]
    if not numbered:
        raise InputError(
            f"{place}: all of {', '.join(columns.values())} are empty; fill one in, or remove the row"
        )
    return [
        _row(place, record, own, mended, lists) | {"id": f"{name}_{number}"}
        for number, own in numbered
    ]


def _is_empty(record: Mapping[str, Any], column: str, place: str) -> bool:
    return is_blank(as_text(find(record, column, place, column), place, column))


def _row(
    place: str,
    record: Mapping[str, Any],
    columns: Mapping[str, str],
    mended: Mended,
    lists: Collection[str],
) -> Row:
    row: Row = {}
    for field, column in columns.items():
        optional = may_be_empty(column) and column not in record
        column = column.removesuffix(_MAY_BE_EMPTY) if optional else column
        value = None if optional and not has(record, column) else find(record, column, place, field)
        text = (list_as_text if field in lists else as_text)(value, place, column)
        if is_blank(text) and not optional:
            raise InputError(
                f"{place}: empty {column}; fill it in, or remove the row (a column that may be empty is named"
                f" {column + _MAY_BE_EMPTY!r})"
            )
        row[field] = "" if is_blank(text) else text
        if isinstance(value, str) and text != value and field not in lists:
            mended.note(place)
    return row


def own_id(place: str, record: Mapping[str, Any], column: str) -> str:
    """The id that a record gives.

    Raises:
      InputError: it is empty, or there is no such column.
    """
    text = id_text(find(record, column, place, "id"), place, column)
    if is_blank(text):
        raise InputError(f"{place}: empty {column}; fill it in, or remove the row")
    return text


def warn_of_no_text(source: str, rows: Sequence[Row], columns: Mapping[str, str]) -> None:
    """Warns of each column that may be empty and is, in all rows: its name may be another."""
    for field, column in columns.items():
        if may_be_empty(column) and rows and not any(row.get(field) for row in rows):
            log.warning(
                "%s: no row has a text in the column %r (for %r)",
                source,
                column.removesuffix(_MAY_BE_EMPTY),
                field,
            )
