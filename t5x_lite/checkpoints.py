"""Training checkpoints: written by orbax in the background, atomically, with our own hashes of every file.

A checkpoint of step 300 is the directory `DIRECTORY/300`: the state as a flat map from parameter path to array, the
caller's metadata as JSON, and `manifest.json` with the sha256 of every file. orbax does not notice a flipped bit in an
array file, so `restore` compares the hashes first. The manifest is written before the directory gets its final name:
a checkpoint that exists has one.

A checkpoint found damaged is renamed to `damaged-300` and the one before it is taken, with a warning: runs are
deterministic, so going back costs time and changes no result, and nobody watches a run at night. Asking for a
certain step never falls back.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero

PyTree = Any
_MANIFEST = "manifest.json"
# Written by orbax after the manifest, while committing: they mark completeness and hold nothing of the state.
_COMMIT_FILES = ("_CHECKPOINT_METADATA", "commit_success.txt")
_CHUNK_BYTES = 1 << 22
_HASHING_THREADS = 8
_NAMES_SHOWN = 8
_STORAGE_TROUBLE = (
    "no space left",
    "enospc",
    "quota",
    "permission denied",
    "read-only file system",
    "file too large",
    "efbig",
)


class Checkpoints:
    """The checkpoints of one run, in one directory.

    Not safe for use from several threads. With several processes, all make the same calls in the same order.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int,
        best_metric: str = "",
        best_mode: str = "max",
    ):
        """Opens `directory`, making it if need be, and removes what an interrupted save left there.

        Args:
          directory: a local path or a remote one (gs://...).
          keep: how many of the newest checkpoints to keep, from 1 on.
          best_metric: also keep the one best checkpoint by this entry of `metadata["metrics"]`; "" keeps none.
          best_mode: "max" or "min": which value of `best_metric` is best.

        Raises:
          InputError: a bad setting, or the directory cannot be made.
        """
        if keep < 1:
            raise InputError(f"checkpoint.keep must be at least 1, got {keep}")
        if best_mode not in ("max", "min"):
            raise InputError(f"checkpoint.best_mode must be 'max' or 'min', got {best_mode!r}")
        self.directory = epath.Path(directory)
        if "://" not in os.fspath(directory):
            self.directory = self.directory.expanduser().resolve()  # orbax wants absolute paths
        self._best_metric = best_metric
        self._saving: tuple[int, dict[str, Any]] | None = None
        policies: list[Any] = [checkpoint_managers.LatestN(keep)]
        if best_metric:
            policies.append(
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    reverse=best_mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_names=("state", "metadata")
            )
        except OSError as error:
            raise InputError(
                f"{self.directory}: cannot keep checkpoints there ({error.strerror or error})"
            ) from error

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint; None when there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: PyTree, metadata: Mapping[str, Any]) -> None:
        """Starts saving, and returns once the state is copied: its buffers may then be donated.

        Waits for the save before this one, should it still be running, and raises what went wrong with it. Saving
        the latest step once more does nothing.

        Args:
          step: a step later than that of every checkpoint in the directory.
          state: any pytree of jax arrays.
          metadata: JSON-able facts to store along (seed, plan step, config hash, ...).

        Raises:
          InputError: the directory holds a later checkpoint, or the last save could not be written.
        """
        self.wait()
        latest = self.latest_step()
        if latest is not None and step <= latest:
            if self._saving is not None and step == latest == self._saving[0]:
                return
            raise InputError(
                f"{self.directory}: step {step} cannot be saved over the checkpoint of step {latest};"
                " resume from that one, or use another directory"
            )
        flat = _flat(state)
        self._saving = (step, _describe(flat))
        metrics = metadata.get("metrics", {})
        with _storage_trouble_is_named(self.directory, step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(flat), metadata=ocp.args.JsonSave(dict(metadata))
                ),
                metrics=dict(metrics) if self._best_metric in metrics else None,
                force=True,
            )

    def restore(self, abstract_state: PyTree, step: int | None = None) -> tuple[PyTree, dict]:
        """Loads a checkpoint onto the devices of `abstract_state`, whatever mesh it was saved from.

        Args:
          abstract_state: the state's pytree with a `jax.ShapeDtypeStruct` a leaf, sharded as the result shall be
            (no sharding: the first device).
          step: which checkpoint; None takes the newest undamaged one.

        Returns:
          The state and the metadata saved with it.

        Raises:
          InputError: there is no such checkpoint, it is of another state (the message lists what is only in the state
            and what is only in the checkpoint), or it is damaged (the message names the files).
        """
        self.wait()
        flat = _flat(abstract_state)
        chosen = from_process_zero(lambda: self._choose(step, _describe(flat)))
        self._manager.reload()  # a damaged checkpoint may have been renamed
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        targets = {
            path: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or first
            )
            for path, leaf in flat.items()
        }
        restored = self._manager.restore(
            chosen,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(targets), metadata=ocp.args.JsonRestore()
            ),
        )
        # By path, for orbax need not keep the order of a map.
        leaves = [restored["state"][path] for path in flat]
        structure = jax.tree.structure(abstract_state)
        return jax.tree.unflatten(structure, leaves), restored["metadata"]

    def wait(self) -> None:
        """Waits until the save under way, if any, is complete.

        Raises:
          InputError: it could not be written. Earlier checkpoints are untouched.
        """
        with _storage_trouble_is_named(self.directory, self._saving and self._saving[0]):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the background threads.

        Raises:
          InputError: the last save could not be written. Earlier checkpoints are untouched.
        """
        with _storage_trouble_is_named(self.directory, self._saving and self._saving[0]):
            self._manager.close()

    def _write_manifest(self) -> None:
        # Called in orbax's thread on process 0, when all files are there and the directory has yet to be committed.
        assert self._saving is not None
        step, tree = self._saving
        places = list(self.directory.glob(f"{step}.orbax-checkpoint-tmp*"))
        # Object stores know no renaming; there the directory has its final name from the start.
        place = places[0] if places else self.directory / str(step)
        content = {"files": _hashes(place), "tree": tree}
        (place / _MANIFEST).write_text(json.dumps(content | {"sha256": _content_hash(content)}))

    def _choose(self, step: int | None, wanted: Mapping[str, Any]) -> int:
        """The step to restore. Compares the trees before it hashes, so that a wrong config is told at once."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps or (step is not None and step not in steps):
            have = f"has steps {sorted(steps)}" if steps else "has none"
            asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise InputError(f"{self.directory}: {asked}; the directory {have}")
        for candidate in steps if step is None else [step]:
            place = self.directory / str(candidate)
            damage = _damage(place, wanted)
            if not damage:
                return candidate
            if step is not None:
                raise InputError(f"{place}: {damage}; use another step ({sorted(steps)})")
            aside = self.directory / f"damaged-{candidate}"
            if aside.exists():
                aside.rmtree()
            place.rename(aside)
            log.warning("%s: %s; moved to %s, trying an earlier one", place, damage, aside.name)
        raise InputError(f"{self.directory}: every checkpoint is damaged (now named damaged-STEP)")


def _flat(tree: PyTree) -> dict[str, Any]:
    """Path ("params/encoder/...") -> leaf, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(flat) != len(leaves):
        raise ValueError("two leaves of the state have the same path")
    return flat


def _describe(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {path: [list(leaf.shape), np.dtype(leaf.dtype).name] for path, leaf in flat.items()}


def _hashes(place: epath.Path) -> dict[str, str]:
    """sha256 of every file under `place` that holds something of the checkpoint, by relative path."""
    files = {
        str(path.relative_to(place)): path
        for path in _files(place)
        if path.name not in (_MANIFEST, *_COMMIT_FILES)
    }
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return dict(sorted(zip(files, pool.map(_sha256, files.values()), strict=True)))


def _content_hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files(place: epath.Path) -> Iterator[epath.Path]:
    for path in place.iterdir():  # epath has no recursive glob
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _sha256(path: epath.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _damage(place: epath.Path, wanted: Mapping[str, Any]) -> str:
    """What is wrong with the files under `place`, in words; "" for nothing.

    Raises:
      InputError: the checkpoint is of another state than `wanted`.
    """
    try:
        content = json.loads((place / _MANIFEST).read_text())
        if content.pop("sha256") != _content_hash(content):
            return f"damaged: {_MANIFEST} has changed"
        expected, tree = content["files"], content["tree"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"damaged: {_MANIFEST} is missing or unreadable ({type(error).__name__})"
    if tree != wanted:
        raise InputError(f"{place}: a checkpoint of another state: {_differences(wanted, tree)}")
    found = _hashes(place)
    parts = []
    for title, names in (
        ("changed", [name for name in expected if name in found and found[name] != expected[name]]),
        ("missing", [name for name in expected if name not in found]),
        ("not part of it", [name for name in found if name not in expected]),
    ):
        if names:
            parts.append(f"{title}: {_some(names)}")
    return f"damaged: {'; '.join(parts)}" if parts else ""


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


class _storage_trouble_is_named:
    """Turns a full disk or a directory without permission, however orbax reports it, into an InputError."""

    def __init__(self, directory: epath.Path, step: int | None):
        self._directory, self._step = directory, step

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        cause = error
        while cause is not None:
            text = str(cause).lower()
            if isinstance(cause, OSError) or any(sign in text for sign in _STORAGE_TROUBLE):
                reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
                raise InputError(
                    f"{self._directory}: the checkpoint of step {self._step} could not be written"
                    f" ({reason}); earlier checkpoints are kept, free some space and resume"
                ) from error
            cause = cause.__cause__ or cause.__context__
