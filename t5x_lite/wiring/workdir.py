"""The folder of a run: it belongs to one config, and a second run with another one is refused."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero, wait_for_all
from t5x_lite.sections import Config, to_dict
from t5x_lite.wiring.rehearsal import end_rehearsal, is_rehearsal

CONFIG_FILE = "config.json"
# Object stores, by what reads them.
_STORES = {"gs": "gcsfs", "s3": "s3fs"}
CHECKPOINTS = "checkpoints"
_STEPS, _SCHEDULE = "train.steps", "schedule.name"
# Whose rates up to a step do not depend on how many follow.
_OPEN_SCHEDULES = ("constant", "rsqrt")
_SHOWN = 200  # characters of a value that differs
_WAY_OUT = "remove it or use another --workdir"


def open_workdir(workdir: str, config: Config) -> epath.Path:
    """Makes the folder, and sees that it can be written and belongs to no run of another config.

    It is this config's only after `claim_workdir`: whatever else is wrong with a config must not spoil the folder for
    the one put right.

    Raises:
      InputError: the folder cannot be made or written, or holds a run of another config (the fields that differ are
        named).
    """
    if not workdir.strip():
        raise InputError(
            "--workdir: an empty name (an unset variable?); name a folder, . for this one"
        )
    check_workdir(workdir, config)
    folder = epath.Path(workdir)
    if is_rehearsal():
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{jax.process_index()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise InputError(f"--workdir {workdir}: {error.strerror or error}") from error
    _check_shared(workdir, folder)
    return folder


def check_workdir(workdir: str, config: Config) -> None:
    """Refuses a folder that cannot be reached, or holds a run of another config. It costs nothing, and may come before
    any row or model is read.

    Raises:
      InputError: what a store says, the fields that differ, what else config.json is, or checkpoints without it.
    """
    _check_store(workdir)
    file = epath.Path(workdir) / CONFIG_FILE
    try:
        if file.exists():
            _compare(workdir, _read_config(file), _resolved(config), config.FREE)
        elif any((epath.Path(workdir) / CHECKPOINTS).glob("[0-9]*")):
            raise InputError(
                f"--workdir {workdir} holds {CHECKPOINTS}/ and no {CONFIG_FILE}, which says of what run they are: put"
                " it back, or take another folder"
            )
    except OSError as error:
        raise InputError(f"--workdir {workdir}: {error.strerror or error}") from error
    except RecursionError as error:
        raise InputError(f"{file}: nested too deep for a config; {_WAY_OUT}") from error


def _read_config(file: epath.Path) -> dict[str, Any]:
    """The config of the run that a folder holds.

    Raises:
      InputError: there is something else, by its file.
    """
    try:
        config = json.loads(file.read_text())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}; {_WAY_OUT}") from error
    except ValueError as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{file}: not JSON ({reason}); {_WAY_OUT}") from error
    if not isinstance(config, dict):
        raise InputError(
            f"{file}: expected the config of a run, a JSON object, found a {type(config).__name__}; {_WAY_OUT}"
        )
    if "task" not in config and "model_type" in config:
        raise InputError(f"{file}: the config of a model, and of no run; use another --workdir")
    return config


def _check_store(workdir: str) -> None:
    """Sees that a remote folder can be reached at all.

    Raises:
      InputError: a scheme that is not known, what reads it is not installed, or the store refuses (credentials, names).
    """
    scheme, separator, _ = workdir.partition("://")
    if not separator:
        return
    if scheme not in _STORES:
        raise InputError(
            f"--workdir {workdir}: there is no store {scheme}://; give a local folder, or one of"
            f" {', '.join(f'{name}://' for name in _STORES)}"
        )
    try:
        epath.Path(workdir).exists()
    except ImportError as error:
        raise InputError(
            f"--workdir {workdir}: {scheme}:// needs {_STORES[scheme]}, which is not installed ({error}): pip install"
            f" {'t5x-lite[gcs]' if scheme == 'gs' else _STORES[scheme]}"
        ) from error
    except Exception as error:  # each client has exceptions of its own
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"--workdir {workdir}: cannot be reached ({reason})") from error


def _check_shared(workdir: str, folder: epath.Path) -> None:
    """Sees that all processes have the same folder, where process 0 writes and all read.

    Raises:
      InputError: this one has another.
    """
    if jax.process_count() == 1:
        return
    mark = folder / f".shared-{from_process_zero(lambda: secrets.token_hex(8))}"
    if jax.process_index() == 0:
        mark.write_text("")
    wait_for_all()
    seen = mark.exists()
    wait_for_all()
    if jax.process_index() == 0:
        mark.unlink()
    if not seen:
        raise InputError(
            f"--workdir {workdir}: process {jax.process_index()} does not see there what process 0 writes; give a"
            " folder that all hosts share (gs://, NFS)"
        )


def is_claimed(folder: epath.Path) -> bool:
    """Whether a run has started there."""
    return (folder / CONFIG_FILE).exists()


def claim_workdir(folder: epath.Path, config: Config) -> None:
    """Writes config.json (process 0), when all that could be wrong with the input has been checked.

    Raises:
      Rehearsed: the run is only rehearsed; here it would begin.
    """
    if is_rehearsal():
        end_rehearsal()
    if jax.process_index() == 0:
        fresh = folder / f"{CONFIG_FILE}.new"
        fresh.write_text(json.dumps(_resolved(config), indent=2, sort_keys=True) + "\n")
        fresh.replace(folder / CONFIG_FILE)


@contextlib.contextmanager
def local_copy(folder: epath.Path, *, with_files: bool) -> Iterator[pathlib.Path]:
    """A local directory that stands for `folder`, for what knows no gs://; what is written there is copied at the end.

    A local folder stands for itself. `with_files`: a remote one's files are copied from there at the beginning.
    """
    if not _is_remote(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory() as directory:
        local = pathlib.Path(directory)
        if with_files and folder.exists():
            for file in folder.iterdir():
                (local / file.name).write_bytes(file.read_bytes())
        yield local
        if jax.process_index() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for file in local.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())


def _is_remote(folder: epath.Path) -> bool:
    return "://" in os.fspath(folder)


def _resolved(config: Config) -> dict[str, Any]:
    """The config as it reads back from a file: tuples are lists."""
    return json.loads(json.dumps(to_dict(config)))


def _compare(
    workdir: str, before: dict[str, Any], now: dict[str, Any], free: Sequence[str]
) -> None:
    old, new = _flatten(before), _flatten(now)
    differing = [
        name
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        and not any(fnmatch.fnmatchcase(f"{name}.", f"{section}.*") for section in free)
        and not _is_same_place(name, old.get(name), new.get(name))
    ]
    steps = old.get(_STEPS)
    if differing == [_STEPS] and isinstance(steps, int) and new[_STEPS] > steps:
        if new.get(_SCHEDULE) in _OPEN_SCHEDULES:
            return
        raise InputError(
            f"--workdir {workdir} holds a run of {old[_STEPS]} steps, now there are {new[_STEPS]}: its schedule"
            f" {new.get(_SCHEDULE)!r} falls to its end over config.{_STEPS}, and does not go on (one of"
            f" {', '.join(_OPEN_SCHEDULES)} would); to train its model further, take another folder with"
            f" --config.model.source={workdir} and a schedule of its own"
        )
    if differing:
        changes = [
            f"config.{name} was {_short(old.get(name))}, is {_short(new.get(name))}"
            for name in differing[:4]
        ]
        raise InputError(
            f"--workdir {workdir} holds a run of another config ({'; '.join(changes)}"
            + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")
            + "): take another folder, or remove that one"
        )


def _is_same_place(name: str, old: Any, new: Any) -> bool:
    """Whether two paths are one, written from another folder or in another way: train.jsonl and /data/train.jsonl.

    From where a relative one was written is not known, so the file must be there and end alike; that training
    examples and frozen weights are the same ones is seen in any case, when a run goes on.
    """
    texts = isinstance(old, str) and isinstance(new, str) and old and new
    if not texts or "://" in old + new or not os.path.exists(os.path.expanduser(new)):
        return False
    before, now = (os.path.normpath(os.path.expanduser(path)) for path in (old, new))
    place = os.path.abspath(now)
    same = os.path.abspath(before) == place
    if not same and not os.path.isabs(before):
        parts = [part for part in pathlib.PurePath(before).parts if part != os.pardir]
        same = bool(parts) and list(pathlib.PurePath(place).parts[-len(parts) :]) == parts
    if same:
        log.info("config.%s: %r is taken for %r, which the run began with", name, new, old)
    return same


def _short(value: Any) -> str:
    """As it is written, on one line of a few hundred characters at most."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: value
        for key, child in tree.items()
        for name, value in _flatten(child, f"{prefix}.{key}" if prefix else key).items()
    }
