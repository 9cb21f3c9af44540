"""Where else a model or adapter lies, when it is not in the folder that was named: for messages."""

from __future__ import annotations

import pathlib
import re

_SHOWN = 5


def also_in(directory: pathlib.Path, file: str) -> str:
    """For a message: which folders right below have such a file; "" if none.

    (A Trainer's output has a folder a checkpoint, and peft one an adapter that is not called "default".)
    """
    try:
        names = [one.name for one in directory.iterdir() if (one / file).is_file()]
    except OSError:
        return ""
    if not names:
        return ""
    # checkpoint-500 before checkpoint-1000
    names.sort(
        key=lambda name: [int(part) if part.isdigit() else 0 for part in re.split(r"(\d+)", name)]
    )
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"; there is one in {shown}: name {directory / names[-1]}, say"
