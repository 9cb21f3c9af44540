"""Services that show the metrics of many runs, beside metrics.jsonl: Weights & Biases, and trackio.

Both are extras, and are imported where a config names them alone. Metrics are never lost by them, nor a run: what goes
wrong there is told of once, and the run goes on without.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
from etils import epath

from t5x_lite.console import log

IDS_FILE = "trackers.json"
_READABLE = 64  # characters of a folder's name in an id
_PROJECT = "t5x-lite"  # unless the service's own variable of the environment names one


class Tracker(Protocol):
    """A run of a service, which is begun, or gone on with, where it is made."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the values of a step."""

    def finish(self, exit_status: int) -> None:
        """Ends the run. exit_status: 0 where it has come to its end."""


def start_trackers(
    names: Sequence[str], workdir: epath.PathLike, config: Mapping[str, Any]
) -> list[Tracker]:
    """Begins a run of each service, or goes on with the one that workdir/trackers.json names; process 0 only.

    config: the resolved config, plain.
    """
    if jax.process_index() != 0 or not names:
        return []
    folder = epath.Path(workdir)
    ids = _ids(folder, names)
    return [
        _Careful(name, functools.partial(_KINDS[name], ids[name], folder, config)) for name in names
    ]


def _ids(folder: epath.Path, names: Sequence[str]) -> dict[str, str]:
    """What the services call this run: as it was, where the folder says so."""
    file = folder / IDS_FILE
    try:
        known = {name: str(id_) for name, id_ in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError, AttributeError) as error:
        log.warning("%s: passed over, and the run gets new ids (%s)", file, error)
        known = {}
    # W&B's ids hold neither a slash nor some other signs.
    readable = re.sub(r"[^\w.-]+", "-", folder.name)[:_READABLE] or "run"
    ids = {name: f"{readable}-{secrets.token_hex(4)}" for name in names} | known
    if ids != known:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(ids, indent=2, sort_keys=True) + "\n")
    return ids


class _Careful:
    """A tracker whose first failure is told of, and ends its part."""

    def __init__(self, name: str, begin: Callable[[], Tracker]):
        self._name = name
        self._tracker: Tracker | None = None
        self._tracker = self._tried(begin)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if (tracker := self._tracker) is not None:
            self._tried(lambda: tracker.log(step, values))

    def finish(self, exit_status: int) -> None:
        if (tracker := self._tracker) is not None:
            self._tried(lambda: tracker.finish(exit_status))
            self._tracker = None

    def _tried(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:  # each service has errors of its own
            self._tracker = None
            reason = str(error).split("\n")[0] or type(error).__name__
            log.warning(
                "%s: the run goes on without it (%s); metrics.jsonl has everything",
                self._name,
                reason,
            )
            return None


class _Wandb:
    """https://docs.wandb.ai/ref/python; WANDB_PROJECT, WANDB_MODE and its other variables count."""

    def __init__(self, id_: str, folder: epath.Path, config: Mapping[str, Any]):
        wandb = importlib.import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            id=id_,
            name=folder.name,
            config=dict(config),
            dir=None if "://" in os.fspath(folder) else os.fspath(folder),
            resume="allow",
            reinit="create_new",  # a caller's own run stays as it is
        )
        # W&B drops what is logged of a step that lies behind the last one, as those from a checkpoint on do.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def finish(self, exit_status: int) -> None:
        self._run.finish(exit_code=exit_status)


class _Trackio:
    """https://huggingface.co/docs/trackio; it tells runs apart by their names, and knows no exit status."""

    def __init__(self, id_: str, folder: epath.Path, config: Mapping[str, Any]):
        self._trackio = importlib.import_module("trackio")
        self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or _PROJECT,
            name=id_,
            config=dict(config),
            resume="allow",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def finish(self, exit_status: int) -> None:
        self._trackio.finish()


_KINDS: Mapping[str, Callable[[str, epath.Path, Mapping[str, Any]], Tracker]] = {
    "wandb": _Wandb,
    "trackio": _Trackio,
}
