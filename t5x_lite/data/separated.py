"""Tables of separated values: which separator, whether quotes quote, which names the columns have."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.text_files import (
    WHERE,
    Records,
    open_text,
    refuse_twice,
    refuse_zeros,
    unpacked_name,
)
from t5x_lite.data.values import UNSEEN
from t5x_lite.data.wildcards import is_wanted, spread
from t5x_lite.errors import InputError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Those that no prose holds: where each line has as many, a quote that begins a value and does not end it is a letter.
_NOT_IN_PROSE = ("\t", "|")
_HEAD = 1 << 16  # characters in which the header of separated values must end


def read_separated(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of a file with a header and values by commas, tabs, semicolons or bars. Args: as `read_table`."""
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long dialogues
    with open_text(path, WHERE, newline="") as file:
        head = file.read(_HEAD)
    if head.lstrip().startswith(('{"', "[{", "[\n")):
        raise InputError(
            f"{path}: JSON by the name of separated values; give it the ending .jsonl (an object a line) or .json"
        )
    usual = "," if unpacked_name(path).lower().endswith(".csv") else "\t"
    separator, blanks = _separator(head, wanted, usual)
    if separator != usual and head.strip():
        log.info("%s: its columns are separated by %s", path, _SEPARATORS[separator])
    letters = _quotes_are_letters(path, separator)
    if letters:
        log.info("%s: its values are not quoted; quotes are read as letters", path)
    with open_text(path, WHERE, newline="") as file:
        reader = csv.reader(
            file,
            delimiter=separator,
            skipinitialspace=blanks,
            strict=True,
            quoting=csv.QUOTE_NONE if letters else csv.QUOTE_MINIMAL,
        )
        try:
            yield from _records(path, reader, wanted, separator)
        except csv.Error as error:
            raise InputError(
                f"{path}:{reader.line_num}: invalid CSV ({error}); a value that begins with a quote must end with one,"
                ' and quotes in it are doubled ("")'
            ) from error


def _quotes_are_letters(path: str, separator: str) -> bool:
    """Whether a file was written without quoting: each line has the header's columns, and to read its quotes as such
    joins lines, or fails.
    """
    if separator not in _NOT_IN_PROSE:
        return False
    lines, columns, begins = 0, 0, False
    with open_text(path, WHERE, newline="") as file:
        for line in file:
            if not line.strip("\r\n"):
                continue
            columns = columns or line.count(separator)
            if not columns or line.count(separator) != columns:
                return False
            begins = begins or line.startswith('"') or f'{separator}"' in line
            lines += 1
    if not begins:
        return False
    with open_text(path, WHERE, newline="") as file:
        try:
            return sum(map(bool, csv.reader(file, delimiter=separator, strict=True))) != lines
        except csv.Error:
            return True


def _records(path: str, reader: Any, wanted: Collection[str], separator: str) -> Records:
    header: list[str] | None = None
    blank, first_line = [], 1  # of the record: a quoted value may span lines
    for values in reader:
        place, first_line = f"{path}:{first_line}", reader.line_num + 1
        if not values or (header is None and _says_separator(values)):
            continue
        refuse_zeros(values[0], place)
        if header is None:
            header = [name if name in wanted else _bare(name) for name in values]
            refuse_twice(header, wanted, place)
            continue
        if not any(value.strip() for value in values):  # ";;;;", as spreadsheets leave them
            blank.append(place)
            continue
        if any(value.strip() for value in values[len(header) :]):
            raise InputError(
                f"{place}: more values than columns ({len(values)} than {len(header)}); quote values that hold"
                f" {_SEPARATORS[separator]}, and name each column in the header"
            )
        values = values[: len(header)]
        yield place, dict(zip(header, values + [None] * (len(header) - len(values)), strict=True))
    if blank:
        log.info("%s: left out %d rows without any value (first at %s)", path, len(blank), blank[0])


def _bare(name: str) -> str:
    """A column's name without what surrounds it unseen."""
    return name.strip().strip(UNSEEN).strip()


def _says_separator(values: Sequence[str]) -> bool:
    """Excel's first line "sep=;"."""
    return values[0].lower().startswith("sep=") and not any(values[1:])


def names_columns(path: str, columns: Collection[str]) -> bool:
    """Whether the first line of a text names several columns, those that are wanted among them."""
    with open_text(path, WHERE, newline="") as file:
        head = file.read(_HEAD)
    header = _header(head, _separator(head, columns, "\t")[0])
    there = dict.fromkeys(map(_bare, header))
    return len(header) > 1 and all(name in there or spread(there, name) for name in columns)


def _separator(head: str, wanted: Collection[str], usual: str) -> tuple[str, bool]:
    """What separates the columns, and whether blanks follow it: what gives most of the wanted columns, then most
    columns.
    """

    def gain(separator: str) -> tuple[int, int, bool]:
        columns = {_bare(name).strip(' "') for name in _header(head, separator)}
        found = sum(is_wanted(name, wanted) for name in columns)
        return found, len(columns), separator == usual

    best = max(_SEPARATORS, key=gain)
    after_the_first = _header(head, best)[1:]
    return best, bool(after_the_first) and all(name.startswith(" ") for name in after_the_first)


def _header(head: str, separator: str) -> list[str]:
    for values in csv.reader(io.StringIO(head, newline=""), delimiter=separator):
        if values and not _says_separator(values):
            return values
    return []
