"""Names of files that stand in files of others: they may not lead out of their folder."""

from __future__ import annotations

import pathlib
from typing import Any

from t5x_lite.errors import InputError

_LONGEST = 255  # bytes that file systems take for a name


def inside(folder: pathlib.Path, name: Any, where: object) -> pathlib.Path:
    """The file that `name` stands for in `folder`. What lies there may be a link, as the hub's cache is made of them.

    where: what messages call the file that the name is from.

    Raises:
      InputError: an absolute name, one that climbs ("../x"), or one that no file system takes.
    """
    parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
    bad = not parts or ".." in parts or parts[0].startswith("/") or "\\" in name or "\0" in name
    if bad or ":" in parts[0] or len(name.encode("utf-8", "replace")) > _LONGEST:
        raise InputError(
            f"{where}: names the file {name!r:.80}; expected one in its own folder, by its plain name"
        )
    return folder.joinpath(*parts)
