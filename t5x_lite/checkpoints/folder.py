"""The folder of a run's checkpoints: by which path orbax knows it, and what lies there that is no checkpoint."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile

from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError

_LAST_STEP = 2**31 - 1  # a step is an int32
ORBAX_METADATA = "_CHECKPOINT_METADATA"
# Its fields, by what orbax takes there.
_NOTES: dict[str, tuple[type, ...]] = {
    "item_handlers": (dict, str, type(None)), "metrics": (dict,), "performance_metrics": (dict, type(None)),
    "custom_metadata": (dict,), "init_timestamp_nsecs": (int, type(None)),
    "commit_timestamp_nsecs": (int, type(None)),
}  # fmt: skip


class Alias:
    """The path by which orbax knows a directory. One that has *, ? or [ in its name, which orbax would read as a
    pattern when it looks for its own files, is known by a link in a temporary directory.

    Raises:
      InputError: such a name of a remote directory.
    """

    def __init__(self, directory: epath.Path):
        self.path, self._folder = directory, ""
        name = os.fspath(directory)
        if glob.escape(name) == name:
            return
        if "://" in name:
            raise InputError(
                f"{name}: checkpoints are not found again behind a *, ? or [ in the name of a remote folder; give a"
                " --workdir without them"
            )
        self._folder = tempfile.mkdtemp()
        self.path = epath.Path(self._folder) / "checkpoints"
        os.symlink(name, self.path, target_is_directory=True)

    def remove(self) -> None:
        """Removes the link."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def put_aside_what_is_none(directory: epath.Path) -> None:
    """Renames what orbax would take for a checkpoint, or stumble over, and is none of ours: files that are called as a
    step, and folders that are called as a step which no run has.

    Raises:
      InputError: a checkpoint is a link. Its files lie elsewhere, and orbax, which deletes checkpoints, follows it.
    """
    # An object store has no empty folders.
    for path in list(directory.iterdir()) if directory.exists() else ():
        if not path.name.isdigit():
            continue
        if is_link(path):
            raise InputError(
                f"{path}: a link in place of a checkpoint; put the folder itself there, or remove the link to go on"
                " from an earlier one"
            )
        _leave_out_what_orbax_cannot_read(path / ORBAX_METADATA)
        is_step = path.name.isascii() and int(path.name) <= _LAST_STEP
        if not is_step or not path.is_dir():
            log.warning("%s: no checkpoint of a run; moved to %s", path, put_aside(path))


def _leave_out_what_orbax_cannot_read(file: epath.Path) -> None:
    """Removes orbax's own notes on a checkpoint where they are not such notes: it would fail over them, and does
    without where there are none. They hold nothing of the state, and are written behind the manifest.
    """
    try:
        if not file.exists():
            return
        content = json.loads(file.read_text())
        good = all(type(content[name]) in kinds for name, kinds in _NOTES.items())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        log.warning("%s: damaged, and removed: nothing is lost with it", file)
        file.unlink() if not file.is_dir() else file.rmtree()


def put_aside(path: epath.Path) -> str:
    """Renames a checkpoint that is none, in place of what was put aside under its name before; the new name."""
    aside = path.parent / f"damaged-{path.name}"
    if is_link(aside) or (aside.exists() and not aside.is_dir()):
        aside.unlink()
    elif aside.exists():
        aside.rmtree()
    path.rename(aside)
    return aside.name


def is_link(path: epath.Path) -> bool:
    """Whether a path is a symbolic link; none is in an object store."""
    return os.path.islink(os.fspath(path))
