"""Tables that are not one file: a data set that `datasets` saved, a folder of table files, a pattern of names."""

from __future__ import annotations

import glob
import itertools
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any

import fsspec.core

from t5x_lite.data.tables import READERS, WHERE, Records, ending, read_table
from t5x_lite.errors import InputError

_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves
_MAGIC = re.compile(r"[*?\[]")


def is_table(path: str) -> bool:
    """Whether the path ends as a table file does."""
    return ending(path) in READERS


def is_pattern(source: str) -> bool:
    """Whether the source is a pattern of names ("shards/*.parquet") rather than a name."""
    return _MAGIC.search(source) is not None and not pathlib.Path(source).exists()


def is_folder(source: str) -> bool:
    """Whether there is such a folder with tables in it."""
    return bool(_files(source)) or _saved(source) is not None


def read_folder(source: str, wanted: Collection[str], split: str) -> tuple[Records, bool]:
    """The records of a folder or a pattern, and whether they are those of the split already.

    Of several files, those named after the split ("train.csv", "train-00000-of-00002.parquet") if there are any, else
    all, in the order of their names. Of a saved data set with splits that one, all of them if the split is "".

    Raises:
      InputError: nothing to read, a saved data set without that split, or files of different kinds.
    """
    if (saved := _saved(source)) is not None:
        return _read_saved(source, split, saved)
    files = _files(source)
    if not files:
        endings = ", ".join(sorted(READERS))
        raise InputError(f"{WHERE}: {source} holds no file that ends in {endings}")
    named = [file for file in files if split and _is_of(split, file)]
    files = named or files
    if len(kinds := sorted({ending(file) for file in files})) > 1:
        raise InputError(
            f"{WHERE}: {source} holds files of several kinds ({', '.join(kinds)}); give a pattern, {source}/*{kinds[0]}"
        )
    return (
        itertools.chain.from_iterable(read_table(file, wanted, split) for file in files),
        bool(named),
    )


def _is_of(split: str, file: str) -> bool:
    name = pathlib.PurePath(file).name
    return re.match(re.escape(split) + r"(?![A-Za-z0-9])", name) is not None


def _files(source: str) -> list[str]:
    """The table files of a folder or pattern, sorted."""
    if "://" not in source:
        if is_pattern(source):
            found = glob.glob(source, recursive=True)
        else:
            folder = pathlib.Path(source).expanduser()
            found = [str(path) for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(file for file in found if is_table(file) and pathlib.Path(file).is_file())
    system, path = _system(source)
    if not _MAGIC.search(source):
        path = f"{path.rstrip('/')}/*"
    found = system.glob(path)
    return sorted(system.unstrip_protocol(file) for file in found if is_table(file))


def _saved(source: str) -> str | None:
    """Which of save_to_disk's files is in the folder."""
    local = "://" not in source
    system, path = _system(str(pathlib.Path(source).expanduser()) if local else source)
    for name in (_SAVED_SPLITS, _SAVED):
        if system.exists(f"{path.rstrip('/')}/{name}"):
            return name
    return None


def _system(source: str) -> tuple[Any, str]:
    try:
        system, path = fsspec.core.url_to_fs(source)
    except (
        ImportError,
        ValueError,
    ) as error:  # what reads that protocol is not installed, or unknown
        raise InputError(f"{WHERE}: cannot read {source} ({error})") from error
    return system, path


def _read_saved(source: str, split: str, saved: str) -> tuple[Records, bool]:
    import datasets

    try:
        data: Any = datasets.load_from_disk(source)
    except Exception as error:  # of pyarrow, fsspec and its own, which share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{WHERE}: cannot read the data set saved in {source} ({reason})"
        ) from error
    if saved == _SAVED:
        return _records(data, source), False
    if split and split not in data:
        raise InputError(
            f"{WHERE}: the data set saved in {source} has no split {split!r}; there are {', '.join(data)}"
        )
    chosen: Sequence[str] = [split] if split else list(data)
    return (
        itertools.chain.from_iterable(_records(data[name], f"{source} {name}") for name in chosen),
        True,
    )


def _records(table: Any, place: str) -> Records:
    for number, record in enumerate(table):
        yield f"{place} row {number}", record
