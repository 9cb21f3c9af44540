"""What an array may take before it is made: sizes that a file states are not those of the machine."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from t5x_lite.errors import InputError


def memory_bytes() -> int:
    """The machine's memory."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not told: nothing is refused
        return 1 << 62


def in_words(size: float) -> str:
    """A number of bytes as people read it.

    >>> in_words(3 << 30), in_words(5 << 20)
    ('3.0 GiB', '5.0 MiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError


def refuse_larger(shape: Sequence[int], itemsize: int, where: object) -> None:
    """Refuses an array that the machine's memory does not hold.

    Raises:
      InputError: with what it would take and what there is.
    """
    size = math.prod(shape) * itemsize
    if size > (most := memory_bytes()):
        raise InputError(
            f"{where}: an array of shape {tuple(shape)} takes {in_words(size)}, and this machine has"
            f" {in_words(most)}; if the file is right, load it on a larger machine"
        )
