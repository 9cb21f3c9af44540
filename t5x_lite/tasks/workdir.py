"""The folder of a run: it belongs to one config, and a second run with another one is refused."""

from __future__ import annotations

import json
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from t5x_lite.errors import InputError

CONFIG_FILE = "config.json"
# What may differ when a run goes on: nothing of it changes the numbers beyond rounding.
_FREE_SECTIONS = ("mesh", "logging", "checkpoint", "published")


def open_workdir(workdir: str, config: ConfigDict) -> epath.Path:
    """Makes the folder, and writes config.json (process 0) or compares with the one that is there.

    Raises:
      InputError: the folder cannot be made, or holds a run of another config (the fields that differ are named).
    """
    folder = epath.Path(workdir)
    file = folder / CONFIG_FILE
    resolved = json.loads(config.to_json_best_effort())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists():
            _compare(str(folder), json.loads(file.read_text()), resolved)
        if jax.process_index() == 0:
            file.write_text(json.dumps(resolved, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise InputError(f"--workdir {workdir}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: not JSON ({error}); remove it or use another --workdir") from error
    return folder


def _compare(place: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = _flatten(before), _flatten(now)
    differing = [
        f"config.{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name.split(".")[0] not in _FREE_SECTIONS
    ]
    if differing:
        raise InputError(
            f"--workdir {place} holds a run of another config ({'; '.join(differing[:4])}"
            + (f"; and {len(differing) - 4} more" if len(differing) > 4 else "")
            + "): take another folder, or remove that one"
        )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: value
        for key, child in tree.items()
        for name, value in _flatten(child, f"{prefix}.{key}" if prefix else key).items()
    }
