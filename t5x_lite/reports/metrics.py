"""metrics.jsonl and TensorBoard events: what is written while a run goes on.

Every line is one JSON object with an integer `step`. JSON has no NaN: a value that is not finite is written
as the string "NaN", "Infinity" or "-Infinity", which `float()` reads back (null would hide which of them ended a run).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

import jax
import numpy as np
from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.reports.trackers import Tracker

METRICS_FILE = "metrics.jsonl"

# An object store cannot append: there the whole (small) file is uploaded anew, at most this often.
_SECONDS_BETWEEN_UPLOADS = 30.0


def json_value(value: Any) -> Any:
    """`value` as plain JSON types: arrays as lists, dataclasses as dicts, floats that are not finite as strings.

    >>> json_value({"loss": np.float32("nan"), "shape": (2, 3)})
    {'loss': 'NaN', 'shape': [2, 3]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = np.asarray(value).tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read_metrics(workdir: epath.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; [] if there is no such file. A last line cut off by a kill is left out.

    Raises:
        InputError: it cannot be read, or another line is not a JSON object with an integer `step` (file and line are
            named).
    """
    path = epath.Path(workdir) / METRICS_FILE
    try:
        # What follows the last newline is nothing, or a line that was never finished.
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise InputError(_not_a_file(path, error)) from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line.decode())
            if not isinstance(record, dict) or type(record["step"]) is not int:
                raise TypeError
        # Bytes that are no UTF-8, no JSON, numbers of thousands of digits; objects in objects without end.
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{path}:{number}: expected a JSON object with an integer `step`; remove the line, or the file"
            ) from None
        records.append(record)
    return records


def _not_a_file(path: epath.Path, error: OSError) -> str:
    return f"{path}: {error.strerror or error}; a run keeps its metrics there: remove it, or take another --workdir"


class MetricsWriter:
    """Appends metrics of a run to `workdir`/metrics.jsonl, to TensorBoard events there and to trackers; a context
    manager.

    `start_step`: 0 starts the file anew. On resume, the step of the restored checkpoint: later lines are removed,
    so that the file ends up as if the run had never stopped (times aside). For that, write everything that belongs
    to a step, its evaluation too, before saving the checkpoint of that step.

    Only process 0 writes; elsewhere all methods do nothing. Each line is flushed (on gs://, both files are uploaded
    every 30 seconds and at `close`). trackers: to be set to those that were begun; `close` finishes them.

    Raises:
        InputError: an existing metrics.jsonl is none, or cannot be read (on resume).
    """

    def __init__(self, workdir: epath.PathLike, *, start_step: int, tensorboard: bool):
        self.trackers: Sequence[Tracker] = ()
        self._speaks = jax.process_index() == 0
        self._stream: IO[bytes] | None = None
        self._events: Any = None
        self._local_events: tempfile.TemporaryDirectory[str] | None = None
        if not self._speaks:
            return
        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS_FILE
        self._remote = "://" in os.fspath(workdir)
        kept = [r for r in read_metrics(folder) if r["step"] <= start_step] if start_step else []
        self._lines = [_line(record) for record in kept]
        self._uploaded = time.monotonic()
        if self._remote:
            self._path.write_bytes("".join(self._lines).encode())
        else:
            if self._path.is_dir():
                raise InputError(_not_a_file(self._path, IsADirectoryError("a directory")))
            # Replaced, not truncated in place: a kill here leaves one of the two files whole.
            fresh = self._path.with_name(METRICS_FILE + ".new")
            fresh.write_bytes("".join(self._lines).encode())
            fresh.replace(self._path)
            self._stream = open(self._path, "ab")  # noqa: SIM115 (open as long as the run)
        if tensorboard:
            place = os.fspath(workdir)
            if self._remote:
                # tensorboardX knows buckets only by Google's and Amazon's own clients.
                self._local_events = tempfile.TemporaryDirectory()
                place = self._local_events.name
            self._events = _open_events(place, start_step)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes one line {"step": step, **metrics}; the values are numbers (Python, numpy or jax scalars).

        Raises:
            TypeError: a value is not a number.
        """
        if not self._speaks:
            return
        values = {}
        for name, value in metrics.items():
            number = np.asarray(value)
            if number.ndim or number.dtype.kind not in "biuf" and number.dtype.name != "bfloat16":
                raise TypeError(f"metric {name!r} is not a number: {value!r}")
            values[name] = number.item()
        line = _line({"step": int(step), **values})
        if self._stream is not None:
            self._stream.write(line.encode())
            self._stream.flush()
        else:
            self._lines.append(line)
            if time.monotonic() - self._uploaded > _SECONDS_BETWEEN_UPLOADS:
                self._upload()
        if self._events is not None:
            # tensorboardX warns about every NaN and draws none of them.
            for name, value in values.items():
                if math.isfinite(value):
                    self._events.add_scalar(name, value, int(step))
        for tracker in self.trackers:
            tracker.log(int(step), values)

    def _upload(self) -> None:
        self._path.write_bytes("".join(self._lines).encode())
        if self._events is not None and self._local_events is not None:
            self._events.flush()  # nothing, once they are closed
            for file in pathlib.Path(self._local_events.name).iterdir():
                (self._path.parent / file.name).write_bytes(file.read_bytes())
        self._uploaded = time.monotonic()

    def close(self, exit_status: int = 0) -> None:
        """Flushes and closes both files, and finishes the trackers. Closing twice does nothing.

        exit_status: of the run, 0 where it has come to its end.
        """
        if self._events is not None:
            self._events.close()
        if self._stream is not None:
            self._stream.close()
        elif self._speaks and self._remote:
            self._upload()
        if self._local_events is not None:
            self._local_events.cleanup()
        for tracker in self.trackers:
            tracker.finish(exit_status)
        self.trackers = ()
        self._speaks = False

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(exit_status=0 if error is None else 1)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(json_value(record), allow_nan=False) + "\n"


def _open_events(workdir: str, start_step: int) -> Any:
    try:
        # Half a second of protobuf, and where torch is installed seconds of that, which nothing here needs.
        with _absent("torch"):
            from tensorboardX import SummaryWriter
        # purge_step hides events of the stopped run that lie beyond the checkpoint.
        # The suffix: a run that is stopped and goes on within a second leaves the other file alone.
        return SummaryWriter(
            workdir,
            purge_step=start_step + 1 if start_step else None,
            filename_suffix=f".{start_step}",
        )
    except ImportError as error:
        log.warning(
            "no TensorBoard events in %s: %s (metrics.jsonl is written all the same)",
            workdir,
            error,
        )
        return None


@contextlib.contextmanager
def _absent(module: str) -> Iterator[None]:
    """Imports inside find no such module, as on a machine without it; one that is imported already stays."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
