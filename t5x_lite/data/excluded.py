"""Lists of ids to leave out."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from t5x_lite.data.tables import READERS, ending, read_table
from t5x_lite.data.text_files import open_text, unpacked_name
from t5x_lite.data.values import find, has, id_key, id_text
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import parse_json

_WHERE = "data.exclude"
_LINES = ".txt"
_KEYED = re.compile(r"(.+\.json(?:\.\w+)?):(.+)", re.IGNORECASE)


def read_ids(spec: str, id_column: str) -> set[str]:
    """The ids of a file, as `values.id_key` compares them: text (an id a line), JSON (a list, or a mapping whose
    keys count), or another table with the column `id_column`; "path.json:dev" takes what lies under "dev".

    Raises:
      InputError: a file that is missing or unreadable, or holds no ids.
    """
    spec = os.path.expanduser(spec)
    match = _KEYED.fullmatch(spec)
    path, key = match.groups() if match else (spec, "")
    if not unpacked_name(path).lower().endswith(".json"):
        is_table = ending(path) in READERS and ending(path) != _LINES
        if is_table and (found := _of_table(path, id_column)) is not None:
            return found
        with open_text(path, _WHERE) as lines:
            return {id_key(line) for line in lines if line.strip()}
    with open_text(path, _WHERE) as file:
        try:
            content = parse_json(file.read())
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: invalid JSON ({error.msg})") from error
        except ValueError as error:
            raise InputError(f"{path}: invalid JSON ({error})") from error
    if not isinstance(content, list | dict):
        raise InputError(
            f"{path}: expected a list or a mapping of ids, found {type(content).__name__}"
        )
    return {id_key(id_text(item, path, "ids")) for item in _below(content, key, path, spec)}


def _of_table(path: str, id_column: str) -> set[str] | None:
    """The ids of a table, or of JSON lines that are ids; None: one column without that name, so a plain list."""
    found: set[str] = set()
    for place, record in read_table(path, {id_column}, ""):
        if not isinstance(record, Mapping):
            found.add(id_key(id_text(record, place, id_column)))
        elif not found and not has(record, id_column) and len(record) == 1:
            return None
        else:
            found.add(id_key(id_text(find(record, id_column, place, "id"), place, id_column)))
    return found


def _below(content: Any, key: str, path: str, spec: str) -> Any:
    if key:
        if not isinstance(content, dict) or key not in content:
            keys = (
                ", ".join(map(str, content)) if isinstance(content, dict) else "a list without keys"
            )
            raise InputError(f"{_WHERE}: {path} has no {key!r}; there is {keys}")
        content = content[key]
    if (
        isinstance(content, dict)
        and content
        and all(isinstance(value, list | dict) for value in content.values())
    ):
        raise InputError(
            f"{_WHERE}: {path} holds several lists; choose with {path}:KEY of {', '.join(content)}"
        )
    if not isinstance(content, list | dict):
        raise InputError(
            f"{_WHERE}: {spec} is a {type(content).__name__}; expected a list or a mapping of ids"
        )
    return content
