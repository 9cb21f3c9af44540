"""Rows of text: from a Hugging Face dataset, local tables (JSON lines, JSON, separated values, Parquet), or the
bundled corpus.
"""

from __future__ import annotations

import collections
import itertools
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.excluded import read_ids
from t5x_lite.data.folders import (
    declares_its_files,
    is_folder,
    is_pattern,
    is_table,
    read_folder,
)
from t5x_lite.data.groups import GROUP, group_keys, text_key
from t5x_lite.data.hub import read_data_set
from t5x_lite.data.records import Mended, Row, make_rows, own_id, required, warn_of_no_text
from t5x_lite.data.tables import READERS, read_table
from t5x_lite.data.text_files import PACKED, Records
from t5x_lite.data.values import has, id_key
from t5x_lite.errors import InputError

_FOLDER = pathlib.Path(__file__).parent / "bundled"
BUNDLED = _FOLDER / "dialogues.jsonl"
# The files of the bundled corpus, by the names that configs call them.
_BUNDLED = {
    "bundled": BUNDLED,
    "bundled/preferences": _FOLDER / "preferences.jsonl.gz",
    "bundled/rude": _FOLDER / "rude.jsonl.gz",
    "bundled/toxicity": _FOLDER / "toxicity.jsonl.gz",
    "bundled/unseen": _FOLDER / "unseen.jsonl.gz",
}

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[^@/:]+)?(@[\w./-]+)?")
_SPREADSHEETS = (".xlsx", ".xls", ".ods")
# Endings of files that are no tables, and that no dataset's name has.
_OTHER_FILES = (
    *_SPREADSHEETS,
    ".pkl",
    ".tar",
    ".db",
    *PACKED,
)
# A column of this name may be missing: files of one's own have none, and are numbered.
_USUAL_ID = "id"
# So may these, which the bundled pairs have, where a field of the same name asks for them: they only sort results.
_USUAL_EXTRAS = ("kind", GROUP)


def load_rows(
    source: str,
    split: str,
    columns: Mapping[str, str],
    *,
    id_column: str,
    exclude: str,
    limit: int,
    lists: Collection[str] = (),
) -> list[Row]:
    """Reads rows as {field: text} with one more key, "id"; every problem is found before anything
    slow starts.

    Args:
      source: "bundled" (or "bundled/preferences", "bundled/rude", "bundled/toxicity", "bundled/unseen"); a file
        (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .txt; also .gz, .zst, .bz2, .xz or .zip;
        local or gs://); a folder of such files, a pattern ("shards/*.parquet"), or what `datasets`
        saved to a folder; or a Hugging Face dataset id ("knkarthick/dialogsum", with
        ":configuration" and "@revision" if wanted). What exists here is never taken for an id.
      split: of a dataset id, the split's name (slices such as "train[:10%]" work). Of a file, the
        rows whose "split" column says so, as in the bundled corpus; all rows where there is no such
        column (one line says so); "" takes all rows.
      columns: template field -> column, e.g. {"dialogue": "dialogue", "summary": "summary"}; a
        nested one as "translation.en". None may be empty in any row (None and NaN are). The fields "kind" and
        "group" are left out where the first row has no column of that name. A pattern ("summary*", "references.*")
        makes a row of each column that it matches (`wildcards`), the empty ones apart; their ids end in _1, _2, ….
        "input?" is a column that may be empty, or not there: {input:+a part} of a template is then left out.
      id_column: the column with the rows' ids; "" numbers the rows from 0, and so does "id" where
        there is no such column (one line says so).
      exclude: a file of ids to leave out: text (an id a line), JSON (a list, or a mapping whose
        keys count), or a table with that column; "path.json:dev" takes what lies under "dev". "" excludes nothing.
        7, "7" and 7.0 are the same id.
      limit: take the first so many rows, after the exclusion; 0 takes all.
      lists: fields whose columns hold lists, which become JSON lists of texts (`values.list_as_text`).

    Raises:
      InputError: a file that is missing or unreadable, invalid JSON or CSV (file and line), a
        column that is not there (with those that are), an empty or missing value (file and line),
        ids to exclude without an id column, an unknown split, no rows left, a dataset id that
        cannot be reached.
    """
    excluded = read_ids(exclude, id_column) if exclude else set()
    if exclude and not id_column:
        raise InputError(
            f"data.exclude: {exclude} lists ids, so data.id_column must name the column they are in"
        )
    rows, left_out = _read_rows(source, split, columns, id_column, excluded, limit, lists)
    if excluded:
        _report_left_out(source, exclude, id_column, left_out, len(excluded))
    if not rows:
        raise InputError(f"{source}: no rows" + (f" in split {split!r}" if split else ""))
    return rows


def _read_rows(
    source: str,
    split: str,
    columns: Mapping[str, str],
    id_column: str,
    excluded: set[str],
    limit: int,
    lists: Collection[str],
) -> tuple[list[Row], int]:
    """The rows, and how many of the ids to exclude were there."""
    wanted = {*required(columns), id_column, "split"} - {""}
    rows: list[Row] = []
    left_out: set[str] = set()
    mended = Mended()
    for number, (place, record) in enumerate(_records(source, split, wanted)):
        if not isinstance(record, Mapping):
            raise InputError(
                f"{place}: expected an object with named columns, found {type(record).__name__}"
            )
        if number == 0 and id_column == _USUAL_ID and not excluded and not has(record, id_column):
            log.info("%s: no column 'id'; the rows are numbered from 0", source)
            id_column = ""
        if number == 0:
            columns = {
                field: column
                for field, column in columns.items()
                if field != column or field not in _USUAL_EXTRAS or has(record, column)
            }
        name = own_id(place, record, id_column) if id_column else str(number)
        if id_key(name) in excluded:
            left_out.add(id_key(name))
            continue
        rows += make_rows(place, record, columns, name, mended, lists)
        if limit and len(rows) >= limit:
            break
    mended.report()
    _warn_of_equal_ids(source, rows)
    warn_of_no_text(source, rows, columns)
    return rows[:limit] if limit else rows, len(left_out)


def is_bundled(source: str) -> bool:
    """Whether `source` is a file of the bundled corpus."""
    return source in _BUNDLED


def is_file(source: str) -> bool:
    """Whether `source` means files (or the bundled corpus) rather than a Hugging Face dataset id."""
    if source in _BUNDLED or is_table(source) or not _HUB_ID.fullmatch(source):
        return True
    if pathlib.PurePath(source).suffix.lower() in _OTHER_FILES:
        return True
    path = pathlib.Path(source).expanduser()
    return path.is_file() or (path.is_dir() and is_folder(source))


def warn_of_shared_rows(
    evaluation: Sequence[Row], training: Sequence[Row], field: str | Sequence[str]
) -> list[str]:
    """Warns, in one line (`told_of_shared_rows`), of evaluation rows that were drawn with a training row
    (`groups.group_keys`): whose column "group", or where not both sides have one whose `field` (or fields), also occurs
    in training, case and white space aside.

    Returns their ids: scores on them are not held-out scores, and `data.exclude` leaves them out.
    """
    shared, told = _shared_rows(evaluation, training, field)
    if told:
        log.warning("%s", told)
    return shared


def told_of_shared_rows(
    evaluation: Sequence[Row], training: Sequence[Row], field: str | Sequence[str]
) -> str:
    """What `warn_of_shared_rows` says; "" where there is nothing to warn of."""
    return _shared_rows(evaluation, training, field)[1]


def _shared_rows(
    evaluation: Sequence[Row], training: Sequence[Row], field: str | Sequence[str]
) -> tuple[list[str], str]:
    """The ids of the evaluation rows that are in training, too, and what is said of them."""
    fields = (field,) if isinstance(field, str) else tuple(field)
    if not evaluation or not training:
        return [], ""
    grouped = all(GROUP in rows[0] for rows in (evaluation, training))
    if not fields and not grouped:
        return [], ""

    def keys_of(rows: Sequence[Row]) -> list[str]:
        return group_keys(rows, fields) if grouped else [text_key(row, fields) for row in rows]

    seen, keys = set(keys_of(training)), keys_of(evaluation)
    shared = [row["id"] for row, key in zip(evaluation, keys, strict=True) if key in seen]
    if not shared:
        return [], ""
    name = GROUP if grouped else " and ".join(fields)
    some = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
    return shared, (
        f"{len(shared)} of {len(evaluation)} evaluation rows have a {name} that is also in the training rows ({some}):"
        " their scores are not held out. Leave them out by data.evaluation.exclude, a file of their ids."
    )


def _warn_of_equal_ids(source: str, rows: Sequence[Row]) -> None:
    counts = collections.Counter(id_key(row["id"]) for row in rows)
    if twice := [name for name, count in counts.items() if count > 1]:
        log.warning(
            "%s: %d ids name more than one row (first %r, %d rows): samples and exclusions cannot tell these apart;"
            " another column by id_column=..., or '' to number the rows",
            source,
            len(twice),
            twice[0],
            counts[twice[0]],
        )


def _report_left_out(source: str, exclude: str, id_column: str, rows: int, ids: int) -> None:
    log.info("%s: left out %d rows whose ids %s lists (%d ids)", source, rows, exclude, ids)
    if not rows:
        log.warning(
            "data.exclude: no row of %s has an id of %s in column %r", source, exclude, id_column
        )


def _records(source: str, split: str, wanted: set[str]) -> Records:
    """(place, record) of every row of the split; the place reads "file:line"."""
    if not is_file(source) or declares_its_files(source):
        return read_data_set(source, split)
    path = str(_BUNDLED.get(source, source))
    if is_table(path) and not is_pattern(path) and not pathlib.Path(path).is_dir():
        return _of_split(read_table(path, wanted, split), path, split)
    if is_pattern(path) or is_folder(path):
        records, chosen = read_folder(path, wanted, split)
        return records if chosen else _of_split(records, path, split)
    if pathlib.Path(path).is_file() or pathlib.PurePath(path).suffix.lower() in _OTHER_FILES:
        there = (
            "ends in none of"
            if pathlib.Path(path).is_file()
            else "is not there, and ends in none of"
        )
        if pathlib.PurePath(path).suffix.lower() in _SPREADSHEETS:
            raise InputError(f"data.source: {path} is a spreadsheet; save its sheet as CSV UTF-8")
        raise InputError(
            f"data.source: the file {path} {there} {', '.join(READERS)} (with {', '.join(PACKED)} behind, if packed);"
            " give its table such an ending"
        )
    raise InputError(
        f"data.source: {source!r} is neither a file ending in {', '.join(READERS)}, a folder with such files, nor a"
        " dataset id"
    )


def _of_split(records: Records, path: str, split: str) -> Iterator[tuple[str, Any]]:
    """Those whose column "split" says so; all where the first has no such column."""
    found, by_column, others = False, True, dict[str, None]()
    for number, (place, record) in enumerate(records):
        if split and number == 0 and isinstance(record, Mapping) and "split" not in record:
            if "[" in split:
                raise InputError(
                    f"data.split: {split!r} is a slice, which only a dataset id takes; of the file {path} take the"
                    " first rows by data.limit"
                )
            log.info("%s: no column 'split'; the split %r is the whole file", path, split)
            by_column = False
        if split and by_column and isinstance(record, Mapping):
            if "split" not in record:
                raise InputError(f"{place}: no column 'split', which the rows before have")
            if (own := str(record["split"]).strip()) != split:
                others.setdefault(own)
                continue
        found = True
        yield place, record
    if split and not found:
        there = ", ".join(map(repr, itertools.islice(others, 9))) or "none"
        raise InputError(f"{path}: no row whose column 'split' is {split!r}; there are {there}")
