"""Rows that a caller from Python holds in memory: written beside the run, which reads them there as any file's."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from t5x_lite.data.values import as_text
from t5x_lite.errors import InputError

_SUFFIX = ".source"
_WANTED = "a list of mappings, a pandas DataFrame or a split of datasets"


def given_rows(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The fields ("data.train.source") whose value is rows instead of the name of some."""
    return {
        field: value
        for field, value in overrides.items()
        if field.startswith("data.")
        and field.endswith(_SUFFIX)
        and not isinstance(value, str)
        and isinstance(value, Iterable)
    }


def place_of(folder: str, field: str) -> str:
    """The file that rows of a field are written to."""
    return str(epath.Path(folder) / "rows" / f"{field.removesuffix(_SUFFIX)}.jsonl")


def write_rows(value: Any, field: str, path: str) -> None:
    """Writes rows as JSON lines; the same rows may be there already, as when a run goes on.

    Args:
      value: rows by column: a list of mappings, a pandas DataFrame, or a split of `datasets`.
      field: "data.train.source", for messages.

    Raises:
      InputError: something else, no rows, a value that has no text, or other rows that are there.
    """
    lines = [
        json.dumps(_plain(record, f"{field}: row {number}"))
        for number, record in enumerate(_records(value, field))
    ]
    if not lines:
        raise InputError(f"{field}: no rows")
    content = "".join(f"{line}\n" for line in lines).encode()
    file = epath.Path(path)
    if file.exists():
        if file.read_bytes() != content:
            raise InputError(
                f"{field}: {path} holds other rows, those of an earlier call; take another workdir"
            )
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    fresh.write_bytes(content)
    fresh.replace(file)


def _records(value: Any, field: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        raise InputError(
            f"{field}: expected {_WANTED}, found a {type(value).__name__} of {', '.join(map(str, value))}; give one of"
            " them"
        )
    records = value.to_dict("records") if hasattr(value, "iterrows") else value
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputError(
                f"{field}: row {number} is a {type(record).__name__}; expected {_WANTED}"
            )
        yield record


def _plain(value: Any, place: str) -> Any:
    """A value as JSON has it: text, null, or lists and objects of these."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}, {key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, place) for inner in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    return as_text(value, place, "value") or None
