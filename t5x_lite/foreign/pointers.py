"""What git leaves in place of a large file where git-lfs is not installed: three lines that say where the file is."""

from __future__ import annotations

import os
import pathlib

from t5x_lite.errors import InputError

_START = b"version https://git-lfs.github.com/spec/"
_MOST = 1024  # bytes of a pointer, by its specification


def refuse_pointer(head: bytes, path: str | os.PathLike[str]) -> None:
    """Refuses the beginning of a file that is such a pointer.

    Raises:
      InputError: with how the file itself is had.
    """
    if head.startswith(_START):
        raise InputError(
            f"{os.fspath(path)}: a Git LFS pointer, in place of the file itself; run `git lfs pull` in its repository,"
            " or download it from the hub"
        )


def refuse_pointer_file(path: pathlib.Path) -> None:
    """As `refuse_pointer`, of a file; one that cannot be read is left to its reader."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST:
            return
        head = path.read_bytes()
    except OSError:
        return
    refuse_pointer(head, path)
