"""On what a run ran: versions and devices, for its report."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import shlex
import sys
import time

import jax

from t5x_lite.foreign.sizes import in_words, memory_bytes

_PACKAGES = (
    "t5x_lite",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "transformers",
    "numpy",
)


_BEGAN = time.time()  # when this was imported: among the first things that a run does
_PROGRAMS = ("t5x-lite", "__main__.py")


def environment() -> dict[str, str]:
    """Versions of what decides the numbers, the devices by kind and count, the machine, and the command, its date, and
    the minutes that it took until now.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            versions[package] = "not installed"
    devices = jax.devices()
    return versions | {
        "command": _command(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "minutes since the program began": f"{(time.time() - _BEGAN) / 60:.1f}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, {in_words(memory_bytes())}",
        "python": platform.python_version(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": str(jax.process_count()),
    }


def _command() -> str:
    """How the run was started, as a shell takes it."""
    if pathlib.PurePath(sys.argv[0]).name not in _PROGRAMS:
        return "from Python"
    return shlex.join(["t5x-lite", *sys.argv[1:]])


def _commit() -> str:
    """The commit of the checkout that the package lies in; read from git's files, which needs no git."""
    root = pathlib.Path(__file__).resolve().parents[2]
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = pathlib.Path(git.read_text().partition(": ")[2].strip())
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        common = git / "commondir"
        store = (git / common.read_text().strip()) if common.is_file() else git
        return (store / head.removeprefix("ref: ")).read_text().strip()
    except OSError:
        return "not a checkout"
