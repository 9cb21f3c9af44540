"""Readers of table files: JSON lines, JSON, separated values, Parquet. Each yields (place, record) in order, the place
reading "file:line" where there are lines.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.text_files import open_bytes, open_text, unpacked_name
from t5x_lite.data.values import has
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import parse_json

Records = Iterator[tuple[str, Any]]
WHERE = "data.source"

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_HEAD = 1 << 16  # characters in which the header of separated values must end


def ending(path: str) -> str:
    """The ending that says what kind of table it is, in lower case: ".csv" of "A.CSV.gz"."""
    return pathlib.PurePath(unpacked_name(path)).suffix.lower()


def read_table(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of a file by its ending (`READERS`), or of a zip archive by that of the file in it.

    wanted: the columns that will be asked for. split: as `load_rows` has it; a JSON object may name its lists so.

    Raises:
      InputError: a file that is missing, unreadable or of another kind than its ending says, with the line.
    """
    return READERS[ending(path)](path, wanted, split)


def _lines(path: str, wanted: Collection[str], split: str) -> Records:
    with open_text(path, WHERE) as lines:
        filled = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
        first = next(filled, None)
        if first is not None and first[1].lstrip().startswith("["):  # a JSON list by another name
            yield from _json(path, wanted, split)
            return
        yield from _json_lines(path, filled if first is None else itertools.chain([first], filled))


def _json_lines(path: str, lines: Iterator[tuple[int, str]]) -> Records:
    for number, line in lines:
        if line.strip():
            try:
                record = parse_json(line, keep_halves=True)
            except ValueError as error:
                reason = getattr(error, "msg", error)
                raise InputError(
                    f"{path}:{number}: invalid JSON ({reason}); one object a line expected"
                ) from error
            yield f"{path}:{number}", record


def _json(path: str, wanted: Collection[str], split: str) -> Records:
    with open_text(path, WHERE) as file:
        text = file.read()
    try:
        content = parse_json(text, keep_halves=True)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise InputError(f"{path}:{error.lineno}: invalid JSON ({error.msg})") from error
        log.info("%s: holds JSON lines (.jsonl), an object a line, and is read so", path)
        yield from _json_lines(path, enumerate(text.split("\n"), start=1))
        return
    except UnicodeError:  # a ValueError, and `open_text`'s to tell
        raise
    except ValueError as error:
        raise InputError(f"{path}: invalid JSON ({error})") from error
    records = content if isinstance(content, list) else _in_object(path, content, wanted, split)
    for number, record in enumerate(records):
        yield f"{path}: item {number}", record


def _in_object(path: str, content: Any, wanted: Collection[str], split: str) -> list[Any]:
    """The rows of a JSON object: the list that it holds, the one named by the split, its columns, or itself."""
    expected = f"{path}: expected a list of objects"
    if not isinstance(content, Mapping):
        raise InputError(f"{expected}, found {type(content).__name__}")
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    columns = set(wanted) - {"id", "split"}  # those that any table must have
    if columns and all(has(content, column) for column in columns):
        if any(not isinstance(content.get(column), list) for column in columns):
            return [content]
        if len({len(column) for column in lists.values()}) == 1:
            return [
                dict(zip(lists, row, strict=False)) for row in zip(*lists.values(), strict=False)
            ]
    rows = {
        key: value for key, value in lists.items() if not value or isinstance(value[0], Mapping)
    }
    if split in rows:
        return [
            {"split": split, **record} if isinstance(record, Mapping) else record
            for record in rows[split]
        ]
    if len(rows) == 1:
        ((key, value),) = rows.items()
        log.info("%s: the rows are those of its list %r", path, key)
        return list(value)
    if len(rows) > 1:
        raise InputError(
            f"{expected}, found an object with several ({', '.join(map(repr, rows))}); choose with data.split"
        )
    raise InputError(
        f"{expected}, found an object with {', '.join(map(repr, content)) or 'nothing'}"
    )


def _separated(path: str, wanted: Collection[str], split: str) -> Records:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long dialogues
    with open_text(path, WHERE, newline="") as file:
        head = file.read(_HEAD)
    usual = "," if ending(path) == ".csv" else "\t"
    separator, blanks = _separator(head, wanted, usual)
    if separator != usual and head.strip():
        log.info("%s: its columns are separated by %s", path, _SEPARATORS[separator])
    with open_text(path, WHERE, newline="") as file:
        reader = csv.reader(file, delimiter=separator, skipinitialspace=blanks, strict=True)
        try:
            yield from _records(path, reader, wanted, separator)
        except csv.Error as error:
            raise InputError(
                f"{path}:{reader.line_num}: invalid CSV ({error}); a value that begins with a quote must end with one"
            ) from error


def _records(path: str, reader: Any, wanted: Collection[str], separator: str) -> Records:
    header: list[str] | None = None
    blank, first_line = [], 1  # of the record: a quoted value may span lines
    for values in reader:
        place, first_line = f"{path}:{first_line}", reader.line_num + 1
        if not values or (header is None and _says_separator(values)):
            continue
        if header is None:
            header = [name if name in wanted else name.strip() for name in values]
            refuse_twice(header, wanted, place)
            continue
        if not any(value.strip() for value in values):  # ";;;;", as spreadsheets leave them
            blank.append(place)
            continue
        if any(value.strip() for value in values[len(header) :]):
            raise InputError(
                f"{place}: more values than columns ({len(values)} than {len(header)}); quote values that hold"
                f" {_SEPARATORS[separator]}"
            )
        values = values[: len(header)]
        yield place, dict(zip(header, values + [None] * (len(header) - len(values)), strict=True))
    if blank:
        log.info("%s: left out %d rows without any value (first at %s)", path, len(blank), blank[0])


def _says_separator(values: Sequence[str]) -> bool:
    """Excel's first line "sep=;"."""
    return values[0].lower().startswith("sep=") and not any(values[1:])


def _separator(head: str, wanted: Collection[str], usual: str) -> tuple[str, bool]:
    """What separates the columns, and whether blanks follow it: what gives most of the wanted columns, then most
    columns.
    """

    def header(separator: str) -> list[str]:
        for values in csv.reader(io.StringIO(head, newline=""), delimiter=separator):
            if values and not _says_separator(values):
                return values
        return []

    def found(separator: str) -> tuple[int, int, bool]:
        columns = {name.strip(' "') for name in header(separator)}
        return len(columns & set(wanted)), len(columns), separator == usual

    best = max(_SEPARATORS, key=found)
    after_the_first = header(best)[1:]
    return best, bool(after_the_first) and all(name.startswith(" ") for name in after_the_first)


def refuse_twice(header: Sequence[str], wanted: Collection[str], place: str) -> None:
    """Refuses a wanted column that is there twice.

    Raises:
      InputError: with its name.
    """
    if twice := [name for name in dict.fromkeys(header) if header.count(name) > 1]:
        if set(twice) & set(wanted):
            raise InputError(
                f"{place}: the column {twice[0]!r} is there {header.count(twice[0])} times; rename all but one"
            )
        log.info("%s: the column %r is there several times; the last one is read", place, twice[0])


def _parquet(path: str, wanted: Collection[str], split: str) -> Records:
    import pyarrow
    import pyarrow.parquet

    try:
        with open_bytes(path, WHERE) as file:
            table = pyarrow.parquet.ParquetFile(file)
            refuse_twice(table.schema_arrow.names, wanted, path)
            number = 0
            for batch in table.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    yield f"{path}: row {number}", record
                    number += 1
    except pyarrow.ArrowInvalid as error:
        raise InputError(
            f"{WHERE}: {path} is not a Parquet file ({str(error).splitlines()[0]})"
        ) from error


READERS: Mapping[str, Callable[[str, Collection[str], str], Records]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".csv": _separated,
    ".tsv": _separated,
    ".tab": _separated,
    ".parquet": _parquet,
}
