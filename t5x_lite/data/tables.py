"""Readers of table files: JSON lines, JSON, separated values, Parquet, Arrow, plain text. Each yields (place, record)
in order, the place reading "file:line" where there are lines.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection, Mapping

from t5x_lite.data.arrow_tables import read_arrow, read_parquet
from t5x_lite.data.json_tables import read_json_lines, read_json_table
from t5x_lite.data.separated import names_columns, read_separated
from t5x_lite.data.text_files import WHERE, Records, open_text, unpacked_name

TEXT_COLUMN = "text"


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


def _text(path: str, wanted: Collection[str], split: str) -> Records:
    """Plain text: a row a line that is not blank, with the one column "text", as `datasets` has it. Where its first
    line names the columns, the table that Excel saves as "text (tab delimited)".
    """
    if names_columns(path, set(wanted) - {"id", "split"}):
        yield from read_separated(path, wanted, split)
        return
    with open_text(path, WHERE) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path}:{number}", {TEXT_COLUMN: line.rstrip("\n")}


READERS: Mapping[str, Callable[[str, Collection[str], str], Records]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json_table,
    ".csv": read_separated,
    ".tsv": read_separated,
    ".tab": read_separated,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".txt": _text,
}
