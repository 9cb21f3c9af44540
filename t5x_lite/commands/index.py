"""`t5x-lite index RUNS`: one page over a folder of runs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from t5x_lite.errors import InputError
from t5x_lite.reports.index import write_index


def index_runs(arguments: Sequence[str]) -> str:
    """Writes RUNS/index.html, and says so.

    Raises:
      InputError: no folder is named, or several; as `reports.index.write_index`.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise InputError("index: name the folder that the runs lie in, as in t5x-lite index runs")
    file, runs = write_index(pathlib.Path(arguments[0]).expanduser())
    return f"{file}: {runs} runs\n"
