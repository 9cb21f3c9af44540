"""Tables in JSON: a line an object, a list of objects, and the shapes in which pandas writes a frame."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.split_names import is_same, is_split
from t5x_lite.data.text_files import WHERE, Records, open_text, refuse_zeros
from t5x_lite.data.values import has
from t5x_lite.data.wildcards import spread
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import parse_json


def read_json_lines(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of a file with an object a line; of a JSON list by that name, too. Args: as `read_table`."""
    with open_text(path, WHERE) as lines:
        filled = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
        first = next(filled, None)
        if first is not None and first[1].lstrip().startswith("["):  # a JSON list by another name
            yield from read_json_table(path, wanted, split)
            return
        yield from _json_lines(path, filled if first is None else itertools.chain([first], filled))


def _json_lines(path: str, lines: Iterator[tuple[int, str]]) -> Records:
    for number, line in lines:
        if line.strip():
            refuse_zeros(line, f"{path}:{number}")
            try:
                record = parse_json(line, keep_halves=True)
            except ValueError as error:
                reason = getattr(error, "msg", error)
                raise InputError(
                    f"{path}:{number}: invalid JSON ({reason}); one object a line expected"
                ) from error
            yield f"{path}:{number}", record


def read_json_table(path: str, wanted: Collection[str], split: str) -> Records:
    """The records of a JSON file: a list of objects, or an object that holds one or is one. Args: as `read_table`."""
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
    if (turned := _oriented(content, columns)) is not None:
        return turned
    if columns and all(has(content, column) for column in columns):
        named = [name for column in columns for name in spread(content, column) or [column]]
        if any(not isinstance(content.get(name), list) for name in named):
            return [content]
        if len({len(column) for column in lists.values()}) == 1:
            return [
                dict(zip(lists, row, strict=False)) for row in zip(*lists.values(), strict=False)
            ]
    rows = {
        key: value for key, value in lists.items() if not value or isinstance(value[0], Mapping)
    }
    if chosen := [key for key in rows if split and is_same(key, split)]:
        key = split if split in chosen else chosen[0]
        return [
            {"split": split, **record} if isinstance(record, Mapping) else record
            for record in rows[key]
        ]
    # Rows of another split are none of this one.
    if len(rows) == 1 and not (split and is_split(next(iter(rows)))):
        ((key, value),) = rows.items()
        log.info("%s: the rows are those of its list %r", path, key)
        return list(value)
    if rows:
        of_it = f" of the split {split!r}" if split else ""
        raise InputError(
            f"{expected}{of_it}, found an object with {'several' if len(rows) > 1 else 'one'}"
            f" ({', '.join(map(repr, rows))}); choose with data.split"
        )
    raise InputError(
        f"{expected}, found an object with {', '.join(map(repr, content)) or 'nothing'}"
    )


def _oriented(content: Mapping[str, Any], columns: Collection[str]) -> list[Any] | None:
    """The rows of an object as `DataFrame.to_json` writes it: {column: {index: value}}, its default; or "split", or
    "index" (rows by their ids). None: it is of no such shape.
    """
    names, data = content.get("columns"), content.get("data")
    if isinstance(names, list) and isinstance(data, list):
        if all(isinstance(row, list) and len(row) == len(names) for row in data):
            return [dict(zip(names, row, strict=True)) for row in data]
        return None
    parts = list(content.values())
    if not columns or not parts or not all(isinstance(part, Mapping) for part in parts):
        return None
    if all(column in content for column in columns):
        if len({tuple(part) for part in parts}) == 1:
            return [{name: part[row] for name, part in content.items()} for row in parts[0]]
        return None
    if all(has(part, column) for part in parts for column in columns):
        return [{"id": key, **part} for key, part in content.items()]
    return None
