"""Whether the files of the rows that a config names are there."""

from __future__ import annotations

import pathlib
from typing import Any

from t5x_lite.data.folders import is_pattern
from t5x_lite.data.sections import RowsSettings
from t5x_lite.data.sources import is_bundled, is_file
from t5x_lite.errors import InputError

_ALWAYS_READ = ("train", "evaluation")


def check_files(config: Any) -> None:
    """Refuses a config whose `data.train` or `data.evaluation` is a file that is not there, before anything slow is
    imported. (Other rows are read only where they are needed, and refused then.)

    Raises:
      InputError: with the field that names the file.
    """
    for name in _ALWAYS_READ:
        section = getattr(getattr(config, "data", None), name, None)
        if not isinstance(section, RowsSettings):
            continue
        source = section.source
        elsewhere = "://" in source or is_pattern(source) or is_bundled(source)
        if elsewhere or not is_file(source) or pathlib.Path(source).expanduser().exists():
            continue
        raise InputError(
            f"config.data.{name}.source: there is no file {source}; name one that is there"
        )
