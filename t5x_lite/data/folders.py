"""Tables that are not one file: a data set that `datasets` saved, a folder of table files, a pattern of names."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import fsspec.core

from t5x_lite.console import log
from t5x_lite.data.arrow_tables import data_set_records
from t5x_lite.data.split_names import SPLITS, is_same, of_path
from t5x_lite.data.tables import READERS, ending, read_table
from t5x_lite.data.text_files import WHERE, Records
from t5x_lite.data.tokenizer_source import first_line
from t5x_lite.errors import InputError

_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves
_MAGIC = re.compile(r"[*?\[]")
_DEEPEST = 3  # folders below the one that is named: data/, en/train/, date=2024/split=train/
_LISTED = 8
_README_HEAD = 1 << 16  # bytes


def is_table(path: str) -> bool:
    """Whether the path ends as a table file does."""
    return ending(path) in READERS


def is_pattern(source: str) -> bool:
    """Whether the source is a pattern of names ("shards/*.parquet") rather than a name."""
    return _MAGIC.search(source) is not None and not pathlib.Path(source).expanduser().exists()


def declares_its_files(source: str) -> bool:
    """Whether the README of a local folder says which files are of which split, as those of the hub do; `datasets`
    reads such.
    """
    readme = pathlib.Path(source).expanduser() / "README.md"
    if "://" in source or not readme.is_file():
        return False
    head = readme.read_bytes()[:_README_HEAD].decode("utf-8", "replace").split("\n---", 1)[0]
    return head.startswith("---") and re.search(r"^\s*-?\s*data_files:", head, re.M) is not None


def is_folder(source: str) -> bool:
    """Whether there is such a folder with tables in it."""
    return bool(_files(source)) or _saved(source) is not None


def read_folder(source: str, wanted: Collection[str], split: str) -> tuple[Records, bool]:
    """The records of a folder or a pattern, and whether they are those of the split already.

    Of several files, those named after the split ("train.csv", "my-train-00000-of-00002.parquet", "train/0.csv"; "dev",
    "val" and "validation" are one name) if there are any, else all, in the order of their names. Of a saved data set
    with splits that one, all of them if the split is "".

    Raises:
      InputError: nothing to read, a saved data set without that split, files of several other splits, files of
        different kinds, or of several folders that nothing chooses from.
    """
    if (saved := _saved(source)) is not None:
        return _read_saved(source, split, saved)
    files = _files(source)
    if not files:
        endings = ", ".join(sorted(READERS))
        raise InputError(f"{WHERE}: {source} holds no file that ends in {endings}")
    chosen, named = _of_split(files, source, split)
    if len(kinds := sorted({ending(file) for file in chosen})) > 1:
        raise InputError(
            f"{WHERE}: {source} holds files of several kinds ({', '.join(kinds)}); give a pattern, {source}/*{kinds[0]}"
        )
    if len(chosen) > 1:
        log.info("%s: %d files are read: %s", source, len(chosen), _shown(chosen, source))
    return (
        itertools.chain.from_iterable(read_table(file, wanted, split) for file in chosen),
        named,
    )


def _of_split(files: Sequence[str], source: str, split: str) -> tuple[Sequence[str], bool]:
    """The files of a split, and whether their names said so."""
    places = {file: _below(file, source) for file in files}
    named = [file for file in files if split and of_path(places[file], split)]
    if split and not named and "[" not in split:
        there = [
            one[0] for one in SPLITS if any(of_path(place, one[0]) for place in places.values())
        ]
        said = "/".join(source.rstrip("/").split("/")[-2 if is_pattern(source) else -1 :])
        # To read them would train on what is to be held out, or score what was trained on; but a person may name them.
        if there and not (len(there) == 1 and of_path(said, there[0])):
            raise InputError(
                f"{WHERE}: {source} holds files of other splits than {split!r} alone: {_shown(files, source)}; name"
                " one of those, or its split in data.split"
            )
    files = named or files
    if is_pattern(source):  # which files, it says itself
        return files, bool(named)
    # Partitions (date=2024-05-01) are parts of one table; en/ and de/ are two.
    folders = {
        tuple(part for part in pathlib.PurePath(places[file]).parent.parts if not _divides(part))
        for file in files
    }
    if len(folders) > 1:
        names = sorted("/".join(parts) or "." for parts in folders)
        raise InputError(
            f"{WHERE}: {source} holds tables in several folders ({', '.join(names[:_LISTED])}); name one of them"
        )
    return files, bool(named)


def _divides(folder: str) -> bool:
    return "=" in folder or any(of_path(folder, names[0]) for names in SPLITS)


def _below(file: str, source: str) -> str:
    """The part of a file's path that the folder's or pattern's own path does not say."""
    start = _MAGIC.split(source)[0] if is_pattern(source) else source.rstrip("/") + "/"
    start = start[: start.rfind("/") + 1]
    if "://" not in start:
        start = os.path.expanduser(start)
    return file[len(start) :] if file.startswith(start) else pathlib.PurePath(file).name


def _shown(files: Sequence[str], source: str) -> str:
    names = [_below(file, source) for file in files]
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


def _files(source: str) -> list[str]:
    """The table files of a folder (its own; without any those below it) or pattern, sorted."""
    if "://" not in source:
        if is_pattern(source):
            found = glob.glob(os.path.expanduser(source), recursive=True)
        else:
            folder = pathlib.Path(source).expanduser()
            found = _within(folder) if folder.is_dir() else []
        return sorted(file for file in found if is_table(file) and pathlib.Path(file).is_file())
    system, path = _system(source)
    if not _MAGIC.search(source):
        path = f"{path.rstrip('/')}/*"
    with _reached(source):
        found = system.glob(path)
    return sorted(system.unstrip_protocol(file) for file in found if is_table(file))


def _within(folder: pathlib.Path) -> list[str]:
    """The visible files of a folder if one is a table, else those of the folders below it."""
    level = [folder]
    for _ in range(1 + _DEEPEST):
        inside = [path for one in level for path in _entries(one) if not _hidden(path.name)]
        # (A folder may be called data.csv: Spark's parts lie in such.)
        files = [str(path) for path in inside if path.is_file()]
        if any(map(is_table, files)):
            return files
        level = [path for path in inside if path.is_dir()]
    return []


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # not ours to read
        return []


def _hidden(name: str) -> bool:
    """Whether the system or an office program keeps the file for itself."""
    return name.startswith((".", "~$"))


def _saved(source: str) -> str | None:
    """Which of save_to_disk's files is in the folder."""
    local = "://" not in source
    system, path = _system(str(pathlib.Path(source).expanduser()) if local else source)
    with _reached(source):
        for name in (_SAVED_SPLITS, _SAVED):
            if system.exists(f"{path.rstrip('/')}/{name}"):
                return name
    return None


@contextlib.contextmanager
def _reached(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a server that is not there, or that refuses
        raise InputError(
            f"{WHERE}: cannot read {source} ({first_line(error)}); a data set of the hub is named by its id, as in"
            " knkarthick/dialogsum"
        ) from error


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
        return data_set_records(data, source), False
    there = sorted((name for name in data if is_same(name, split)), key=lambda name: name != split)
    if split and not there:
        raise InputError(
            f"{WHERE}: the data set saved in {source} has no split {split!r}; there are {', '.join(data)}"
        )
    chosen: Sequence[str] = there[:1] if split else list(data)
    return (
        itertools.chain.from_iterable(
            data_set_records(data[name], f"{source} {name}") for name in chosen
        ),
        True,
    )
