"""Hashes beside an export: a bit that flips on the way, or on the disk, does not load in silence.

`hashes.json` is an object of file name -> SHA-256. A directory without one (the hub's) loads as it is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import pathlib
from collections.abc import Collection

from etils import epath

from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object
from t5x_lite.foreign.names import inside

FILE = "hashes.json"
_EXPECTED = "an object of file names and their SHA-256"
_log = logging.getLogger("t5x_lite")


def write_hashes(folder: pathlib.Path, names: Collection[str]) -> None:
    """Writes the hashes of these files of a folder."""
    found = {name: sha256_of(folder / name) for name in sorted(names)}
    (folder / FILE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def check_hashes(folder: pathlib.Path) -> None:
    """Sees that the files of an export are those that were written; one without hashes passes.

    A JSON file that differs was edited by hand, as one may: a warning names it.

    Raises:
      InputError: a file of weights or pieces differs or is gone, or the hashes cannot be read.
    """
    file = folder / FILE
    if not file.is_file():
        return
    for name, wanted in read_object(file, _EXPECTED).items():
        if not isinstance(wanted, str):
            raise InputError(f"{file}: expected {_EXPECTED}, found {wanted!r:.80} for {name!r:.80}")
        path = inside(folder, name, file)
        by_hand = name.endswith(".json") and not name.endswith("tokenizer.json")
        if not path.is_file():
            if by_hand:
                continue
            raise InputError(
                f"{path}: is gone, and {FILE} names it; copy the directory again, or remove {FILE}"
            )
        status = path.stat()
        if _remembered(path, status.st_mtime_ns, status.st_size) == wanted:
            continue
        if not by_hand:
            raise InputError(
                f"{path}: is not the file that was written ({FILE} has another hash); copy it again, or remove"
                f" {FILE} if you changed it on purpose"
            )
        _told(str(path))


@functools.lru_cache(maxsize=256)
def _told(path: str) -> None:
    _log.warning("%s: was changed since it was written (%s has another hash)", path, FILE)


@functools.lru_cache(maxsize=256)
def _remembered(path: pathlib.Path, changed_ns: int, size: int) -> str:
    """Several readers of a directory hash it once."""
    return sha256_of(path)


def sha256_of(path: epath.PathLike) -> str:
    """The SHA-256 of a file, local or remote, in hexadecimal digits.

    Raises:
      OSError: it cannot be read.
    """
    with epath.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
