"""Rows of text: from a Hugging Face dataset, a local JSONL / JSON / CSV / Parquet file, or the
bundled corpus.
"""

from __future__ import annotations

import csv
import json
import pathlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec

from t5x_lite.console import log
from t5x_lite.data.hub import is_offline
from t5x_lite.errors import InputError

_FOLDER = pathlib.Path(__file__).parent / "bundled"
BUNDLED = _FOLDER / "dialogues.jsonl"
# The files of the bundled corpus, by the names that configs call them.
_BUNDLED = {
    "bundled": BUNDLED,
    "bundled/preferences": _FOLDER / "preferences.jsonl.gz",
    "bundled/rude": _FOLDER / "rude.jsonl.gz",
    "bundled/toxicity": _FOLDER / "toxicity.jsonl.gz",
}

_FILE = re.compile(r"\.(jsonl|json|csv|parquet)(\.gz)?$")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")

Row = dict[str, str]


def load_rows(
    source: str,
    split: str,
    columns: Mapping[str, str],
    *,
    id_column: str,
    exclude: str,
    limit: int,
) -> list[Row]:
    """Reads rows as {field: text} with one more key, "id"; every problem is found before anything
    slow starts.

    Args:
      source: "bundled" (or "bundled/preferences", "bundled/rude", "bundled/toxicity"); a file
        (.jsonl, .json, .csv, .parquet; text files also .gz; local or gs://); or a Hugging Face
        dataset id ("knkarthick/dialogsum", with "@revision" if wanted).
      split: of a dataset id, the split's name (slices such as "train[:10%]" work). Of a file, the
        rows whose "split" column says so, as in the bundled corpus; "" takes all rows.
      columns: template field -> column, e.g. {"dialogue": "dialogue", "summary": "summary"}. None
        may be empty in any row.
      id_column: the column with the rows' ids; "" numbers the rows from 0.
      exclude: a file of ids to leave out: text (an id a line), or JSON (a list, or a mapping whose
        keys count); "path.json:dev" takes what lies under "dev". "" excludes nothing.
      limit: take the first so many rows, after the exclusion; 0 takes all.

    Raises:
      InputError: a file that is missing or unreadable, invalid JSON or CSV (file and line), a
        column that is not there (with those that are), an empty or missing value (file and line),
        ids to exclude without an id column, an unknown split, no rows left, a dataset id that
        cannot be reached.
    """
    excluded = _read_ids(exclude) if exclude else set()
    if exclude and not id_column:
        raise InputError(
            f"data.exclude: {exclude} lists ids, so data.id_column must name the column they are in"
        )
    rows: list[Row] = []
    left_out: set[str] = set()
    records = _file_records(source, split) if is_file(source) else _hub_records(source, split)
    for number, (place, record) in enumerate(records):
        row = _row(place, record, columns, id_column, number)
        if row["id"] in excluded:
            left_out.add(row["id"])
        else:
            rows.append(row)
        if limit and len(rows) == limit:
            break
    if excluded:
        log.info(
            "%s: left out %d rows whose ids %s lists (%d ids)",
            source,
            len(left_out),
            exclude,
            len(excluded),
        )
        if not left_out:
            log.warning(
                "data.exclude: no row of %s has an id of %s in column %r",
                source,
                exclude,
                id_column,
            )
    if not rows:
        raise InputError(f"{source}: no rows" + (f" in split {split!r}" if split else ""))
    return rows


def is_file(source: str) -> bool:
    """Whether `source` means a file (or the bundled corpus) rather than a Hugging Face dataset
    id.
    """
    return source in _BUNDLED or _FILE.search(source) is not None or not _HUB_ID.fullmatch(source)


def warn_of_shared_rows(
    evaluation: Sequence[Row], training: Sequence[Row], field: str
) -> list[str]:
    """Warns, in one line, of evaluation rows whose `field` also occurs in training (case and white
    space aside).

    Returns their ids: scores on them are not held-out scores, and `data.exclude` leaves them out.
    """

    def key(row: Row) -> str:
        return " ".join(row[field].casefold().split())

    seen = {key(row) for row in training}
    shared = [row["id"] for row in evaluation if key(row) in seen]
    if shared:
        some = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
        log.warning(
            "%d of %d evaluation rows have a %s that is also in the training rows (%s):"
            " their scores are not held out",
            *(len(shared), len(evaluation), field, some),
        )
    return shared


def _row(place: str, record: Any, columns: Mapping[str, str], id_column: str, number: int) -> Row:
    if not isinstance(record, Mapping):
        raise InputError(
            f"{place}: expected an object with named columns, found {type(record).__name__}"
        )
    row: Row = {}
    wanted = dict(columns) | ({"id": id_column} if id_column else {})
    for field, column in wanted.items():
        if column not in record:
            raise InputError(
                f"{place}: no column {column!r} (for {field!r}); there are"
                f" {', '.join(map(str, record))}"
            )
        value = record[column]
        if value is not None and not isinstance(value, str | int | float):
            raise InputError(
                f"{place}: column {column!r} holds a {type(value).__name__}; expected text"
            )
        row[field] = "" if value is None else str(value)
        if not row[field].strip():
            raise InputError(f"{place}: empty {column}; fill it in, or remove the row")
    row.setdefault("id", str(number))
    return row


def _file_records(source: str, split: str) -> Iterator[tuple[str, Any]]:
    """(place, record) of every row of the split; the place reads "file:line"."""
    path = str(_BUNDLED.get(source, source))
    if (match := _FILE.search(path)) is None:
        raise InputError(
            f"data.source: {source!r} is neither a file ending in .jsonl, .json, .csv or .parquet"
            " nor a dataset id"
        )
    reader = {"jsonl": _read_jsonl, "json": _read_json, "csv": _read_csv, "parquet": _read_parquet}[
        match[1]
    ]
    found = False
    try:
        for place, record in reader(path):
            if split and isinstance(record, Mapping):
                if "split" not in record:
                    raise InputError(
                        f"{place}: data.split is {split!r} but there is no column 'split'; set it"
                        " to '' to take all rows"
                    )
                if record["split"] != split:
                    continue
            found = True
            yield place, record
    except FileNotFoundError as error:
        raise InputError(f"data.source: there is no file {path}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, ImportError) as error:
        raise InputError(
            f"data.source: cannot read {path} ({str(error).splitlines()[0]})"
        ) from error
    if split and not found:
        raise InputError(f"{path}: no row whose column 'split' is {split!r}")


def _open(path: str, **settings: Any) -> Any:
    return fsspec.open(path, "rt", encoding="utf-8", compression="infer", **settings)


def _read_jsonl(path: str) -> Iterator[tuple[str, Any]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise InputError(
                        f"{path}:{number}: invalid JSON ({error.msg}); one object a line expected"
                    ) from error


def _read_json(path: str) -> Iterator[tuple[str, Any]]:
    for number, record in enumerate(_parse_json(path, list, "a list of objects")):
        yield f"{path}: item {number}", record


def _parse_json(path: str, kind: type | tuple[type, ...], expected: str) -> Any:
    with _open(path) as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: invalid JSON ({error.msg})") from error
    if not isinstance(content, kind):
        raise InputError(f"{path}: expected {expected}, found {type(content).__name__}")
    return content


def _read_csv(path: str) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long dialogues
    with _open(path, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                if None in record:
                    raise InputError(
                        f"{path}:{reader.line_num}: more values than columns; quote values that"
                        " hold commas"
                    )
                yield f"{path}:{reader.line_num}", record
        except csv.Error as error:
            line = reader.reader.line_num  # the DictReader's own is that of the last good record
            raise InputError(f"{path}:{line}: invalid CSV ({error})") from error


def _read_parquet(path: str) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with fsspec.open(path, "rb") as file:
            table = pyarrow.parquet.read_table(file)
    except pyarrow.ArrowInvalid as error:
        raise InputError(
            f"data.source: {path} is not a Parquet file ({str(error).splitlines()[0]})"
        ) from error
    for number, record in enumerate(table.to_pylist()):
        yield f"{path}: row {number}", record


def _hub_records(source: str, split: str) -> Iterator[tuple[str, Any]]:
    if not split:
        raise InputError(f"data.split: name the split of {source} to read, e.g. 'train'")
    import datasets

    if is_offline():
        datasets.config.HF_HUB_OFFLINE = True  # what is cached still loads, and nothing waits
    name, _, revision = source.partition("@")
    try:
        table = datasets.load_dataset(name, split=split, revision=revision or None)
    except Exception as error:  # hub, network, split and parse errors share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"data.source: cannot load split {split!r} of the dataset {source!r} ({reason});"
            " check the id, the split and the network, or give a local .jsonl, .csv or .parquet"
            " file"
        ) from error
    for number, record in enumerate(table):
        yield f"{source} {split} row {number}", record


def _read_ids(spec: str) -> set[str]:
    path, _, key = spec.partition(".json:")
    path = path + ".json" if key else spec
    try:
        if not path.endswith(".json"):
            with _open(path) as lines:
                return {line.strip() for line in lines if line.strip()}
        content = _parse_json(path, (list, dict), "a list or a mapping of ids")
    except FileNotFoundError as error:
        raise InputError(f"data.exclude: there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data.exclude: cannot read {path} ({error})") from error
    if key:
        if not isinstance(content, dict) or key not in content:
            keys = (
                ", ".join(map(str, content)) if isinstance(content, dict) else "a list without keys"
            )
            raise InputError(f"data.exclude: {path} has no {key!r}; there is {keys}")
        content = content[key]
    if (
        isinstance(content, dict)
        and content
        and all(isinstance(value, list | dict) for value in content.values())
    ):
        raise InputError(
            f"data.exclude: {path} holds several lists; choose with {path}:KEY of"
            f" {', '.join(content)}"
        )
    if not isinstance(content, list | dict):
        raise InputError(
            f"data.exclude: {spec} is a {type(content).__name__}; expected a list or a mapping of"
            " ids"
        )
    return {str(item) for item in content}
