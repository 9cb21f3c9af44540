"""One run at a time in a workdir: a file there says which process has it, and that it lives."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero, is_process_zero

LOCK_FILE = "run.lock"
# How often a living process touches its lock, and after which silence one of another host counts as dead, seconds.
_BEAT, _SILENCE = 20.0, 120.0
# How often is looked for a sign of life, seconds.
_LOOK = 1.0
# The folders that this process holds, and by which of its threads.
_held: dict[str, int] = {}


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
    """Within, no other run is in the folder, of another program or another thread. Of several processes, 0 holds the
    lock for all. Within a lock of the same folder (the program's around a task's) this does nothing.

    A lock is taken over where its process is dead: on this host, where there is none of its number that began when it
    did; of another host, where it was silent for two minutes by the folder's own clock (which is waited for). A folder
    that cannot be locked is left to what opens it, which says what is wrong.

    Raises:
      InputError: another run lives there; host, process and time are named.
    """
    name = _name(workdir)
    if _held.get(name) == threading.get_ident():
        yield
        return
    lock = from_process_zero(lambda: _take(workdir))
    _held[name] = threading.get_ident()
    try:
        with _kept(workdir, lock):
            yield
    finally:
        del _held[name]


@contextlib.contextmanager
def _kept(workdir: str, lock: dict[str, Any]) -> Iterator[None]:
    """Within, signs of life are given; at the end the lock goes."""
    if not lock or not is_process_zero():
        yield
        return
    folder, mine, made = epath.Path(workdir), str(lock["token"]), bool(lock["made"])
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / LOCK_FILE, mine, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        with contextlib.suppress(Exception):  # a store that is gone: the silence will tell
            if _read(folder / LOCK_FILE).get("token") == mine:
                (folder / LOCK_FILE).unlink()
            if made:
                folder.rmdir()  # which is refused where anything is in it


def _take(workdir: str) -> dict[str, Any]:
    """Writes the lock; {} where the folder cannot be written, or is a store's that nothing here reads."""
    mine = {
        "host": socket.gethostname(),
        "place": _place(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "token": secrets.token_hex(8),
    }
    try:
        folder = epath.Path(workdir)
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / LOCK_FILE
        if not _create(file, mine):
            other = _read(file)
            if _lives(other, file):
                raise InputError(
                    f"--workdir {workdir}: another run is there ({_named(other)}); wait for its end, stop it, or take"
                    f" another folder (if there is none, remove {file})"
                )
            log.warning(
                "%s: the lock of a run that is gone (%s) is taken over", file, _named(other)
            )
            fresh = file.with_name(f"{LOCK_FILE}.{mine['token']}")
            fresh.write_text(json.dumps(mine))
            fresh.replace(file)
            if _read(file).get("token") != mine["token"]:  # another one took it over as well
                raise InputError(f"--workdir {workdir}: another run has just begun there")
    except InputError:
        raise
    except Exception:  # each store's client has exceptions of its own
        return {}
    return {"token": mine["token"], "made": made}


def _create(file: epath.Path, content: dict[str, Any]) -> bool:
    """Writes the file if it is not there; whether it was not."""
    text = json.dumps(content)
    if "://" in os.fspath(file):  # no store makes a file only if there is none
        if file.exists():
            return False
        file.write_text(text)
        return _read(file).get("token") == content["token"]
    # Complete before it has its name, and only if the name is free.
    fresh = pathlib.Path(f"{os.fspath(file)}.{content['token']}")
    fresh.write_text(text)
    try:
        os.link(fresh, file)
    except FileExistsError:
        return False
    except OSError:  # a filesystem without links
        try:
            with open(file, "x") as stream:
                stream.write(text)
        except FileExistsError:
            return False
    finally:
        fresh.unlink()
    return True


def _read(file: epath.Path) -> dict[str, Any]:
    """What a lock says; {} for one that says nothing."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _lives(lock: dict[str, Any], file: epath.Path) -> bool:
    """Whether the process of a lock is there."""
    if lock.get("place") and lock["place"] == _place():
        if lock.get("pid") == os.getpid():  # a copy of a folder has a copy of its lock
            return _name(os.fspath(file.parent)) in _held
        started = _start_of(lock.get("pid"))
        return bool(started) and started == lock.get("started")
    left = _SILENCE - _silence(file)
    if left <= 0:
        return False
    log.warning("%s: looking for up to %.0f s whether its run lives (%s)", file, left, _named(lock))
    try:
        before, end = file.stat().mtime, time.monotonic() + left
        while time.monotonic() < end:
            time.sleep(_LOOK)
            if file.stat().mtime != before:
                return True
    except FileNotFoundError:  # it has just been given back
        pass
    return False


def _name(workdir: str) -> str:
    """One name for a folder, however it is written."""
    return workdir if "://" in workdir else os.path.realpath(workdir)


def _named(lock: dict[str, Any]) -> str:
    host, pid, since = (lock.get(name, "unknown") for name in ("host", "pid", "since"))
    return f"host {host}, process {pid}, since {since}"


def _silence(file: epath.Path) -> float:
    """Seconds since the file was written, by the clock of where it lies."""
    probe = file.with_name(f"{LOCK_FILE}.{secrets.token_hex(8)}")
    probe.write_text("")
    try:
        return float(probe.stat().mtime - file.stat().mtime)
    except FileNotFoundError:  # it has just been given back
        return _SILENCE
    finally:
        probe.unlink()


def _beat(file: epath.Path, token: str, done: threading.Event) -> None:
    while not done.wait(_BEAT):
        with contextlib.suppress(Exception):
            content = _read(file)
            if content.get("token") == token:
                file.write_text(json.dumps(content))


def _place() -> str:
    """What numbers of processes mean the same in: this boot of this host, and the namespace of this container."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux
        return socket.gethostname()


def _start_of(pid: Any) -> str:
    """When a process of this host began, in its own words; "" where there is none."""
    if not isinstance(pid, int) or pid < 1:
        return ""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]  # a dead one that nobody asked after is dead
    except (OSError, IndexError):
        pass
    if pathlib.Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
