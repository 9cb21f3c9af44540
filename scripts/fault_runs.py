"""Real processes of the program for fault_injection.py: started, waited for, and what they leave compared.

A process is forked from a server that has imported what the program imports (`python -m t5x_lite` spends most of a
tiny run on that), and then is what the program is: its own process, with the program's flags, signals and exit status.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 600.0  # seconds until a process counts as one that hangs
_LOOK = 0.002
# Fields of JSON that depend on the machine's speed, on how long the folder's name is (an adapter's file holds it), or
# on how much of the run this process did.
_TIMES = re.compile(r"time|second|minute|megabytes|compiled programs|^date$", re.IGNORECASE)
# Files that hold times or what is not the run's; checkpoints are compared by their arrays.
_LEFT_OUT = re.compile(
    r"(^|/)(checkpoints/|run\.lock|report\.(md|html)$|memory\.json$|events\.|hashes\.json$|\.)"
)
_SERVER = multiprocessing.get_context("forkserver")


def prepare(cache: pathlib.Path, devices: int = 1) -> None:
    """Settings of all processes, whether disturbed or not; to be called before the first one starts.

    cache: the folder of compiled programs, which all share. devices: how many a process has.
    """
    os.environ.update(
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
        JAX_COMPILATION_CACHE_DIR=str(cache),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
        T5X_LITE_PROGRESS="0",
        HF_HUB_OFFLINE="1",
        # No threads before the fork.
        OPENBLAS_NUM_THREADS="1",
        ARROW_DEFAULT_MEMORY_POOL="system",
        PYTHONPATH=os.pathsep.join([str(pathlib.Path(__file__).resolve().parents[1]), *sys.path]),
    )
    _SERVER.set_forkserver_preload(["fault_program"])


class Program:
    """One process of the program. errors: the file of its standard error."""

    def __init__(self, arguments: Sequence[str], errors: pathlib.Path):
        from fault_program import main

        self.errors = errors
        # Through a pipe: the process may be one that can write no files.
        pipe = errors.with_name(f"{errors.name}.pipe")
        os.mkfifo(pipe)
        self._reader = threading.Thread(target=_drain, args=(pipe, errors), daemon=True)
        self._reader.start()
        self.begun = time.monotonic()
        self._process: BaseProcess = _SERVER.Process(target=main, args=(list(arguments), str(pipe)))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ended(self) -> bool:
        return self._process.exitcode is not None

    def send(self, number: int) -> None:
        """Sends a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            if not self.ended():
                os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit status as a shell shows it: 128 and the number of the signal that killed it.

        Raises:
          TimeoutError: it hangs; it is killed.
        """
        self._process.join(PATIENCE)
        code = self._process.exitcode
        if code is None:
            self.send(signal.SIGKILL)
            raise TimeoutError(f"process {self.pid} hangs; see {self.errors}")
        self._reader.join(5)
        return 128 - code if code < 0 else code

    def said(self) -> str:
        return self.errors.read_text(errors="replace") if self.errors.exists() else ""


def _drain(pipe: pathlib.Path, file: pathlib.Path) -> None:
    with pipe.open("rb") as source, file.open("wb") as target:
        pipe.unlink()
        while data := os.read(source.fileno(), 65536):
            target.write(data)
            target.flush()


class Trial:
    """A workdir in which one command is started again and again.

    command: the flags of the task without its workdir. span: seconds that the undisturbed run took from its lock on.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: pathlib.Path,
        seed: str,
        *,
        span: float = 0.0,
        processes: int = 1,
    ):
        self.command, self.folder, self.span, self.processes = command, folder, span, processes
        self.rng = random.Random(seed)
        self._starts = 0

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.folder / "checkpoints"

    def start(self, *more: str) -> list[Program]:
        """The run's processes. more: further flags."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*self.command, f"--workdir={self.folder}", *more]
        self._starts += 1
        port = _free_port()
        return [
            Program(
                [*arguments, *(_launch(port, self.processes, k) if self.processes > 1 else ())],
                self.folder.with_name(f"{self.folder.name}.errors.{self._starts}.{k}"),
            )
            for k in range(self.processes)
        ]

    def saved(self) -> list[int]:
        """The steps of the checkpoints that are there."""
        names = os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def until(self, programs: Sequence[Program], holds: Callable[[], bool]) -> bool:
        """Waits until something holds; False where the run ended before it did."""
        end = time.monotonic() + PATIENCE
        while not holds():
            if any(program.ended() for program in programs):
                return False
            if time.monotonic() > end:
                raise TimeoutError(f"nothing happens in {self.folder}")
            time.sleep(_LOOK)
        return True

    def locked(self, programs: Sequence[Program]) -> bool:
        """Waits until the run holds its folder; False where it ended before."""
        return self.until(programs, lambda: f'"pid": {programs[0].pid},' in self._lock())

    def amid_training(self, programs: Sequence[Program]) -> bool:
        """Waits for a checkpoint of this start and a moment more; False where the run ended before."""
        before = max(self.saved(), default=0)
        came = self.until(programs, lambda: max(self.saved(), default=0) > before)
        time.sleep(self.rng.uniform(0, 0.3))
        return came

    def _lock(self) -> str:
        try:
            return (self.folder / "run.lock").read_text()
        except OSError:
            return ""


def _launch(port: int, count: int, number: int) -> list[str]:
    return [
        f"--coordinator_address=localhost:{port}", f"--num_processes={count}",
        f"--process_id={number}", f"--start_seconds={PATIENCE:.0f}", "--lost_seconds=20",
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


# What a run leaves, and how two differ


def left_by(folder: pathlib.Path) -> dict[str, Any]:
    """What a run left, without times: the content of each file by its path, and the arrays of its last checkpoints."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "checkpoints":
            found |= {f"{name}/{key}": value for key, value in _arrays(path).items()}
        elif path.is_file() and not _LEFT_OUT.search(name):
            found[name] = _content(path, folder)
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What differs, by file or parameter path."""
    return sorted(
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    )


def _content(path: pathlib.Path, folder: pathlib.Path) -> Any:
    content = path.read_bytes().replace(str(folder).encode(), b"WORKDIR")
    if path.suffix == ".json":
        return _without_times(json.loads(content))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in content.splitlines()]
    return content


def _without_times(value: Any) -> Any:
    """JSON as text, so that not-a-number is itself again."""
    return json.dumps(_pruned(value), sort_keys=True)


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(inner) for key, inner in value.items() if not _TIMES.search(key)}
    return [_pruned(inner) for inner in value] if isinstance(value, list) else value


def _arrays(checkpoints: pathlib.Path) -> dict[str, bytes]:
    """The bytes of each array of the last checkpoint, read through the storage library alone."""
    import numpy as np
    import orbax.checkpoint as ocp

    steps = sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit())
    if not steps:
        return {}
    place = checkpoints / str(steps[-1]) / "state"
    reader = ocp.PyTreeCheckpointer()
    # As plain arrays: the devices that they were on may not be here.
    plain = {
        path: ocp.RestoreArgs(restore_type=np.ndarray)
        for path in reader.metadata(place).item_metadata.tree
    }
    flat = reader.restore(place, args=ocp.args.PyTreeRestore(restore_args=plain))
    return {f"{steps[-1]}/{path}": np.asarray(array).tobytes() for path, array in flat.items()}


@contextlib.contextmanager
def without_room(programs: Sequence[Program], size: int) -> Iterator[None]:
    """From here on no file of these processes may grow beyond `size` bytes, as on a full disk."""
    import resource

    for program in programs:
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(program.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (size, hard))
    yield
