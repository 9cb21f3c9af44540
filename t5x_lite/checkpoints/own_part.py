"""Each process hashes the part of a checkpoint that it writes, while it writes it.

In several processes orbax lets each one write its shards into a database of its own, `state/ocdbt.process_N`, and
process 0 joins their indices at the end. Were process 0 to hash all files then, it would read the whole checkpoint
(130 GB of the largest T5) once more, alone.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import args as ocp_args

from t5x_lite.foreign.hashes import sha256_of
from t5x_lite.parallel.processes import forget, look_up, post, process_count

# Files in there are complete once they have their names, and never change.
_DATA = "d"
_LOOK_SECONDS = 0.1
_UNFINISHED = ".__lock"  # tensorstore's, while it writes
_numbers = itertools.count()


class OwnPart:
    """Hashes of a folder's files, each taken as soon as the file is complete: a thread looks for new ones until
    `finish`."""

    def __init__(self, folder: epath.Path):
        self._folder = folder
        self._known: dict[str, str] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def finish(self) -> dict[str, str]:
        """sha256 of every file by its name relative to the folder, now that all are written.

        Raises:
          OSError: one cannot be read.
        """
        self.stop()
        self._add(self._folder / _DATA, f"{_DATA}/")
        self._add(self._folder, "")
        return dict(self._known)

    def stop(self) -> None:
        """Looks for no more files."""
        self._done.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._done.wait(_LOOK_SECONDS):
            try:
                self._add(self._folder / _DATA, f"{_DATA}/")
            except Exception:  # whatever is wrong is so at the end, too, and told then
                return

    def _add(self, folder: epath.Path, prefix: str) -> None:
        for path in list(folder.iterdir()) if folder.is_dir() else ():
            name = f"{prefix}{path.name}"
            if name not in self._known and not name.endswith(_UNFINISHED) and not path.is_dir():
                self._known[name] = sha256_of(path)


class _Hashed:
    """orbax's future of a process's writes; they count as done once they are hashed, too."""

    def __init__(self, writes: list[Any], part: OwnPart, tell: Callable[[dict[str, str]], None]):
        self._writes = writes
        self._part, self._tell = part, tell

    def result(self, timeout: float | None = None) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        try:
            for write in self._writes:
                write.result(None if end is None else max(0.0, end - time.monotonic()))
        except BaseException:
            self._part.stop()
            raise
        self._tell(self._part.finish())

    def cancel(self) -> None:
        self._part.stop()
        for write in self._writes:
            write.cancel()


class HashingHandler(ocp.StandardCheckpointHandler):
    """Writes a state as orbax does, and hashes the files of it."""

    def __init__(self) -> None:
        super().__init__()
        self._key = ""
        self._own: dict[str, str] = {}

    async def async_save(self, directory: Any, *given: Any, **named: Any) -> Any:
        self._key = f"t5x_lite/hashes/{next(_numbers)}"
        writes = await super().async_save(directory, *given, **named)
        name = f"ocdbt.process_{jax.process_index()}"
        part = OwnPart(epath.Path(getattr(directory, "path", directory)) / name)

        def tell(hashes: dict[str, str]) -> None:
            self._own = {f"{name}/{file}": value for file, value in hashes.items()}
            if jax.process_index() > 0:  # process 0, which reads them, has its own
                post(f"{self._key}/{jax.process_index()}", json.dumps(self._own))

        return [_Hashed(list(writes or ()), part, tell)]

    def hashes(self) -> dict[str, str]:
        """Of the state written last, sha256 of the files of all processes (once all have written), by path relative to
        its folder. Asked once, by process 0.
        """
        found = dict(self._own)
        for number in range(process_count()):
            key = f"{self._key}/{number}"
            if number != jax.process_index() and (posted := look_up(key)):
                found |= json.loads(posted)
                forget(key)
        return found


@ocp_args.register_with_handler(HashingHandler, for_save=True)
class HashedSave(ocp.args.StandardSave):
    """What to save, by `HashingHandler`."""


@ocp_args.register_with_handler(HashingHandler, for_restore=True)
class HashedRestore(ocp.args.StandardRestore):
    """What to restore, by `HashingHandler`."""
