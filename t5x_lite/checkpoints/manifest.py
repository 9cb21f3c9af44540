"""manifest.json: the sha256 of every file of a checkpoint, and what is wrong with one whose files are others."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.checkpoints.folder import ORBAX_METADATA, is_link
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import sha256_of
from t5x_lite.parallel.processes import from_each_process, from_process_zero, process_count

MANIFEST = "manifest.json"
# Written by orbax after the manifest, while committing: they mark completeness and hold nothing of the state.
_COMMIT_FILES = (ORBAX_METADATA, "commit_success.txt")
# What systems leave in folders that somebody looks at (Finder, Explorer, Dolphin) or that are mounted (NFS, FUSE).
_STRAY_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory")
_STRAY_PREFIXES = ("._", ".nfs", ".fuse_hidden")
_HASHING_THREADS = 8
_NAMES_SHOWN = 8
_NONE: Mapping[str, str] = {}


def describe(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> [shape, type], of a state by path."""
    return {path: [list(leaf.shape), np.dtype(leaf.dtype).name] for path, leaf in flat.items()}


def write_manifest(
    place: epath.Path, tree: Mapping[str, Any], known: Mapping[str, str] = _NONE
) -> None:
    """Hashes the files under `place`.

    Args:
      tree: what `describe` says of the state.
      known: hashes that were taken when files were written, by path relative to `place`.

    Raises:
      OSError: a file cannot be read, or the manifest not be written.
    """
    files = _files_of(place)
    fresh = _hashes({name: path for name, path in files.items() if name not in known}, sha256_of)
    content = {"files": {name: known.get(name) or fresh[name] for name in files}, "tree": tree}
    (place / MANIFEST).write_text(json.dumps(content | {"sha256": _content_hash(content)}))


def damage_of(place: epath.Path, wanted: Mapping[str, Any]) -> str:
    """What is wrong with the files under `place`, in words; "" for nothing. Of several processes each reads its share
    of the files; all call this together, and all get the same answer.

    Raises:
      InputError: the checkpoint is of another state than `wanted`.
    """
    first = from_process_zero(lambda: _expected(place, wanted))
    if first["damage"]:
        return str(first["damage"])
    count, number = process_count(), jax.process_index()
    mine = {name: place / name for name in first["there"][number::count]}
    shares = from_each_process(_hashes(mine, _sha256_or_reason))
    found = {name: value for share in shares for name, value in share.items()}
    return _damage(first["files"], found)


def _expected(place: epath.Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the files, the names of those that are there, and what is wrong with the manifest."""
    try:
        content = json.loads((place / MANIFEST).read_text())
        if content.pop("sha256") != _content_hash(content):
            return {"damage": f"damaged: {MANIFEST} has changed"}
        expected, tree = content["files"], content["tree"]
        if not isinstance(expected, dict) or not isinstance(tree, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = type(error).__name__
        return {"damage": f"damaged: {MANIFEST} is missing or unreadable ({reason})"}
    if tree != wanted:
        raise InputError(f"{place}: a checkpoint of another state: {_differences(wanted, tree)}")
    return {"damage": "", "files": expected, "there": list(_files_of(place))}


def _damage(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """How hashes by file differ from those expected, in words; "" for not at all."""
    parts = []
    for title, names in (
        ("changed", [name for name in expected if name in found and found[name] != expected[name]]),
        ("missing", [name for name in expected if name not in found]),
        ("not part of it", [name for name in found if name not in expected]),
    ):
        if names:
            parts.append(f"{title}: {_some(names)}")
    return f"damaged: {'; '.join(parts)}" if parts else ""


def _files_of(place: epath.Path) -> dict[str, epath.Path]:
    """Every file under `place` that holds something of the checkpoint, by relative path, in order."""
    files = {str(path.relative_to(place)): path for path in _files(place)}
    return {
        name: files[name]
        for name in sorted(files)
        if files[name].name not in (MANIFEST, *_COMMIT_FILES)
    }


def _hashes(files: Mapping[str, epath.Path], sha256: Callable[[epath.Path], str]) -> dict[str, str]:
    """sha256 of files, by their names."""
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return dict(zip(files, pool.map(sha256, files.values()), strict=True))


def _content_hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(place: epath.Path) -> Iterator[epath.Path]:
    for path in place.iterdir():  # epath has no recursive glob
        if path.name in _STRAY_FILES or path.name.startswith(_STRAY_PREFIXES):
            continue
        # A link may lead in a circle, or out of the checkpoint.
        if path.is_dir() and not is_link(path):
            yield from _files(path)
        else:
            yield path


def _sha256_or_reason(path: epath.Path) -> str:
    """Of a file that cannot be read, or a link that leads nowhere or to a folder, why."""
    try:
        return sha256_of(path)
    except OSError as error:
        return error.strerror or str(error)


def _differences(wanted: Mapping[str, Any], tree: Mapping[str, Any]) -> str:
    parts = []
    for title, names in (
        ("only in the state", [path for path in wanted if path not in tree]),
        ("only in the checkpoint", [path for path in tree if path not in wanted]),
        (
            "other shapes or types (the state's against the checkpoint's)",
            [
                f"{path} {wanted[path]} against {tree[path]}"
                for path in wanted
                if path in tree and wanted[path] != tree[path]
            ],
        ),
    ):
        if names:
            parts.append(f"{title}: {_some(names)}")
    return "; ".join(parts)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
