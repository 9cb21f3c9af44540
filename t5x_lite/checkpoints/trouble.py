"""Disks that are full and folders that cannot be written, told in one line however a storage library tells them."""

from __future__ import annotations

from typing import Any

from etils import epath

from t5x_lite.checkpoints.manifest import MANIFEST
from t5x_lite.errors import InputError

# What libraries say somewhere in pages of text, and what it means.
_SIGNS = {
    "no space left": "the disk is full",
    "enospc": "the disk is full",
    "quota": "the quota is used up",
    "permission denied": "permission denied",
    "read-only file system": "the file system is read-only",
    "file too large": "a file is larger than may be",
    "efbig": "a file is larger than may be",
}
_LONGEST_REASON = 200  # characters


class storage_trouble_is_named:
    """Turns a full disk or a directory without permission, however orbax reports it, into an InputError."""

    def __init__(self, directory: epath.Path, step: int | None):
        self._directory, self._step = directory, step

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        cause = error
        while cause is not None:
            if reason := _reason(cause):
                raise InputError(
                    f"{self._directory}: the checkpoint of step {self._step} could not be written ({reason});"
                    f" {self._kept()}; put that right, and the same command goes on"
                ) from error
            cause = cause.__cause__ or cause.__context__

    def _kept(self) -> str:
        try:
            names = [path.name for path in self._directory.iterdir() if (path / MANIFEST).exists()]
        except OSError:
            names = []
        steps = sorted(int(name) for name in names if name.isdecimal())
        if not steps:
            return "there is no earlier one"
        return f"earlier ones are kept (of step {', '.join(map(str, steps))})"


def _reason(cause: BaseException) -> str:
    """Why something could not be written; "" where the cause is no trouble of the storage."""
    text = str(cause)
    for sign, meaning in _SIGNS.items():
        if sign in text.lower():
            return meaning
    if not isinstance(cause, OSError):
        return ""
    return (cause.strerror or text).splitlines()[0][:_LONGEST_REASON]
