"""A folder that is there whole or not at all."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

from t5x_lite.errors import InputError

_STAGING = ".partial-export"


@contextlib.contextmanager
def staged(target: pathlib.Path, what: str) -> Iterator[pathlib.Path]:
    """A fresh folder beside the target, which takes its place at the end; what lies there stays until then.

    what: is written; of the message.

    Raises:
      InputError: it cannot be written.
    """
    staging = target.with_name(target.name + _STAGING)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        shutil.rmtree(target, ignore_errors=True)
        staging.replace(target)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise InputError(
            f"{target}: cannot write {what} ({error.strerror or error}); free space or choose another place"
        ) from error
