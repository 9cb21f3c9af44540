"""manifest.json: the sha256 of every file of a checkpoint, and what is wrong with one whose files are others."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from t5x_lite.checkpoints.folder import is_link
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import sha256_of

MANIFEST = "manifest.json"
# Written by orbax after the manifest, while committing: they mark completeness and hold nothing of the state.
_COMMIT_FILES = ("_CHECKPOINT_METADATA", "commit_success.txt")
# What systems leave in folders that somebody looks at (Finder, Explorer, Dolphin) or that are mounted (NFS, FUSE).
_STRAY_FILES = (".DS_Store", "Thumbs.db", "desktop.ini", ".directory")
_STRAY_PREFIXES = ("._", ".nfs", ".fuse_hidden")
_HASHING_THREADS = 8
_NAMES_SHOWN = 8


def describe(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> [shape, type], of a state by path."""
    return {path: [list(leaf.shape), np.dtype(leaf.dtype).name] for path, leaf in flat.items()}


def write_manifest(place: epath.Path, tree: Mapping[str, Any]) -> None:
    """Hashes the files under `place`. tree: what `describe` says of the state.

    Raises:
      OSError: a file cannot be read, or the manifest not be written.
    """
    content = {"files": _hashes(place, sha256_of), "tree": tree}
    (place / MANIFEST).write_text(json.dumps(content | {"sha256": _content_hash(content)}))


def damage_of(place: epath.Path, wanted: Mapping[str, Any]) -> str:
    """What is wrong with the files under `place`, in words; "" for nothing.

    Raises:
      InputError: the checkpoint is of another state than `wanted`.
    """
    try:
        content = json.loads((place / MANIFEST).read_text())
        if content.pop("sha256") != _content_hash(content):
            return f"damaged: {MANIFEST} has changed"
        expected, tree = content["files"], content["tree"]
        if not isinstance(expected, dict) or not isinstance(tree, dict):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"damaged: {MANIFEST} is missing or unreadable ({type(error).__name__})"
    if tree != wanted:
        raise InputError(f"{place}: a checkpoint of another state: {_differences(wanted, tree)}")
    found = _hashes(place, _sha256_or_reason)
    parts = []
    for title, names in (
        ("changed", [name for name in expected if name in found and found[name] != expected[name]]),
        ("missing", [name for name in expected if name not in found]),
        ("not part of it", [name for name in found if name not in expected]),
    ):
        if names:
            parts.append(f"{title}: {_some(names)}")
    return f"damaged: {'; '.join(parts)}" if parts else ""


def _hashes(place: epath.Path, sha256: Callable[[epath.Path], str]) -> dict[str, str]:
    """sha256 of every file under `place` that holds something of the checkpoint, by relative path."""
    files = {
        str(path.relative_to(place)): path
        for path in _files(place)
        if path.name not in (MANIFEST, *_COMMIT_FILES)
    }
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return dict(sorted(zip(files, pool.map(sha256, files.values()), strict=True)))


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
