"""Several processes, one a host: how a run joins them, and how they agree.

`joined` goes around the whole program. On a TPU pod it finds the other hosts by itself; elsewhere flags say where they
are. `from_process_zero`, `check_same` and `wait_for_all` go through jax's key-value store, not through the devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from t5x_lite.console import log
from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
from t5x_lite.parallel import watch
from t5x_lite.parallel.rendezvous import meet

# Processes wait for each other as long as all live: `watch` ends them when one does not.
_FOREVER_MS = 7 * 24 * 3600 * 1000
# jax itself ends the processes when one is gone: the watcher, which says more, comes first.
_JAX_LATER_SECONDS = 60
_GONE_STATUS = 1
_COMMUNICATION = ("Gloo", "gloo", "UNAVAILABLE", "coordination service", "Connection closed")
_numbers = itertools.count()


@dataclasses.dataclass(frozen=True)
class Launch:
    """The flags that say which process this is; an empty address: find out, or be alone.

    coordinator_address: "host:port" of process 0. num_processes, process_id: how many, and which this is.
    start_seconds: how long all wait for the last one. lost_seconds: after how long a silence one counts as gone.
    """

    coordinator_address: str
    num_processes: int
    process_id: int
    start_seconds: float
    lost_seconds: float

    def __post_init__(self) -> None:
        if not self.coordinator_address:
            return
        if not 0 <= self.process_id < self.num_processes:
            raise InputError(
                f"--process_id {self.process_id}: must be from 0 to --num_processes - 1 = {self.num_processes - 1}"
            )


@contextlib.contextmanager
def joined(launch: Launch, command: str) -> Iterator[None]:
    """Joins the processes of the run; within, jax has the devices of all.

    Args:
      command: what all must agree in (the config), or a digest of it.

    Raises:
      InputError: a process is missing (which), or was started with something else.
    """
    launch = launch if launch.coordinator_address else _on_a_tpu_pod(launch)
    if launch.num_processes < 2:
        yield
        return
    import jax

    address, count, number = launch.coordinator_address, launch.num_processes, launch.process_id
    log.info("process %d of %d: waiting for all at %s", number, count, address)
    peers, hosts = meet(address, count, number, launch.start_seconds, command)
    watched = _Watched(number, hosts, launch.lost_seconds, peers)
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # Signals are the loop's: the service would swallow SIGTERM from here on.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(
            address,
            count,
            number,
            initialization_timeout=int(launch.start_seconds) + _JAX_LATER_SECONDS,
            heartbeat_timeout_seconds=int(launch.lost_seconds) + _JAX_LATER_SECONDS,
        )
        log.info("%d processes, on %s", count, ", ".join(hosts))
        _connect()
        yield
    except (Stopped, Diverged, RewardFailed):  # which all did at the same step
        jax.distributed.shutdown()
        watched.say_done()
        raise
    except BaseException as error:
        if any(sign in str(error) for sign in _COMMUNICATION):
            time.sleep(launch.lost_seconds + _JAX_LATER_SECONDS / 10)  # the watcher knows more
        watched.say_failed(error)
        raise
    jax.distributed.shutdown()
    watched.say_done()


def _connect() -> None:
    """The devices of all processes compute something together, now that all are here.

    Gloo gives up where one comes to the first collective 30 s after another: compiling can take that long.
    """
    from jax.experimental import multihost_utils

    wait_for_all()
    multihost_utils.sync_global_devices("t5x_lite")


class _Watched:
    """This process's end of its watcher."""

    def __init__(
        self, number: int, hosts: list[str], lost_seconds: float, peers: list[socket.socket]
    ):
        self._control, theirs = socket.socketpair()
        read, write = os.pipe()
        others = range(1, len(hosts)) if number == 0 else [0]
        settings = {
            "number": number,
            "hosts": hosts,
            "lost_seconds": lost_seconds,
            "control": theirs.fileno(),
            "errors": read,
            "peers": {other: peer.fileno() for other, peer in zip(others, peers, strict=True)},
        }
        subprocess.Popen(
            [sys.executable, "-S", "-E", str(pathlib.Path(watch.__file__)), json.dumps(settings)],
            pass_fds=(theirs.fileno(), read, *(peer.fileno() for peer in peers)),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        for used in (theirs, *peers):
            used.close()
        os.close(read)
        # C++ writes to descriptor 2, Python to a copy of what that was.
        sys.stderr.flush()
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(write, 2)
        os.close(write)
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        if self._control.recv(16):
            os._exit(_GONE_STATUS)

    def say_done(self) -> None:
        """All went well, or ended in agreement."""
        self._say("done")

    def say_failed(self, error: BaseException) -> None:
        """This process ends alone: so must the others."""
        text = " ".join(str(error).split()) or type(error).__name__
        self._say(f"gone it ended with: {text[:1000]}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(line.encode() + b"\n")


def process_count() -> int:
    """How many processes there are, without starting jax's backend."""
    return _state().num_processes or 1


def is_process_zero() -> bool:
    """Whether this is process 0, without starting jax's backend."""
    return not _state().process_id


def from_process_zero(decide: Callable[[], Any]) -> Any:
    """What process 0 decides (JSON), on every process; an InputError that it meets is raised on all."""
    if process_count() == 1:
        return decide()
    client, key = _state().client, f"t5x_lite/decided/{next(_numbers)}"
    if _state().process_id == 0:
        try:
            value = decide()
        except InputError as error:
            client.key_value_set(key, json.dumps({"error": str(error)}))
            raise
        client.key_value_set(key, json.dumps({"value": value}))
        return value
    found = json.loads(client.blocking_key_value_get(key, _FOREVER_MS))
    if "error" in found:
        raise InputError(found["error"])
    return found["value"]


def from_each_process(value: Any) -> list[Any]:
    """What each process gives (JSON), in their order, on every process; waits for all."""
    if process_count() == 1:
        return [value]
    client, key = _state().client, f"t5x_lite/each/{next(_numbers)}"
    client.key_value_set(f"{key}/{_state().process_id}", json.dumps(value))
    numbers = range(process_count())
    return [
        json.loads(client.blocking_key_value_get(f"{key}/{number}", _FOREVER_MS))
        for number in numbers
    ]


def check_same(what: str, value: str) -> None:
    """Refuses to go on where processes differ.

    Raises:
      InputError: this process's `value` is not that of process 0; `what` names it.
    """
    if from_process_zero(lambda: value) != value:
        raise InputError(
            f"process {_state().process_id} on {socket.gethostname()}: its {what} are not those of process 0:"
            " give all hosts the same files"
        )


def wait_for_all() -> None:
    """Returns when all processes are here: what process 0 has written before, all can read."""
    if process_count() > 1:
        _state().client.wait_at_barrier(f"t5x_lite/{next(_numbers)}", _FOREVER_MS)


def post(key: str, value: str) -> None:
    """Posts a value that all processes may `look_up`; the first of a key stays."""
    with contextlib.suppress(Exception):  # it is there already
        _state().client.key_value_set(key, value)


def look_up(key: str) -> str | None:
    """What a process posted; None where none did."""
    try:
        return _state().client.key_value_try_get(key)
    except Exception as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def forget(key: str) -> None:
    """Removes what was posted, once all who want it have read it: the store keeps it for the whole run."""
    _state().client.key_value_delete(key)


def _state() -> Any:
    if "jax" not in sys.modules:  # nor does asking import it
        return types.SimpleNamespace(num_processes=1, process_id=0)
    from jax._src import distributed  # jax.process_count() would start the backend

    return distributed.global_state


def _on_a_tpu_pod(launch: Launch) -> Launch:
    """The flags as the TPU VM knows them; as they were where it has one host, or there is no TPU."""
    if os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return launch
    try:
        from jax._src.clusters.cloud_tpu_cluster import GceTpuCluster, GkeTpuCluster
    except ImportError:
        return launch
    for cluster in (GkeTpuCluster, GceTpuCluster):
        try:
            if not cluster.is_env_present() or cluster.get_process_count() < 2:
                continue
            return dataclasses.replace(
                launch,
                coordinator_address=cluster.get_coordinator_address(
                    int(launch.start_seconds), None
                ),
                num_processes=cluster.get_process_count(),
                process_id=cluster.get_process_id(),
            )
        except Exception as error:
            log.warning("no TPU pod found (%s); of several hosts, say so by flags", error)
    return launch
