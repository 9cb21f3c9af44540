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

import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from t5x_lite.checkpoints.folder import Alias, put_aside, put_aside_what_is_none
from t5x_lite.checkpoints.kept import METADATA, Best, policy
from t5x_lite.checkpoints.manifest import damage_of, describe, write_manifest
from t5x_lite.checkpoints.own_part import HashedRestore, HashedSave, HashingHandler
from t5x_lite.checkpoints.trouble import storage_trouble_is_named
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero

PyTree = Any
_STATE = "state"


class Checkpoints:
    """The checkpoints of one run, in one directory.

    Not safe for use from several threads. With several processes, all make the same calls in the same order.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int,
        keep_every: int = 0,
        keep_best: int = 0,
        best_metric: str = "",
        best_mode: str = "max",
    ):
        """Opens `directory`, making it if need be, and removes what an interrupted save left there.

        Args:
          directory: a local path or a remote one (gs://...).
          keep: how many of the newest checkpoints to keep, from 1 on.
          keep_every: also keep those of every so-manieth step; 0 keeps none.
          keep_best: also keep so many of the best by `best_metric`, an entry of `metadata["metrics"]`, of those whose
            entry is finite; 0 keeps none.
          best_mode: "max" or "min": which value of `best_metric` is best.

        Raises:
          InputError: a bad setting, the directory cannot be made, or a checkpoint there is a link.
        """
        if keep < 1:
            raise InputError(f"checkpoint.keep must be at least 1, got {keep}")
        if best_mode not in ("max", "min"):
            raise InputError(f"checkpoint.best_mode must be 'max' or 'min', got {best_mode!r}")
        self.directory = epath.Path(directory)
        if "://" not in os.fspath(directory):
            self.directory = self.directory.expanduser().resolve()  # orbax wants absolute paths
        self._saving: tuple[int, dict[str, Any]] | None = None
        self._best = Best(self.directory, best_metric, best_mode, keep_best) if keep_best else None
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy(keep, keep_every, self._best),
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
        )
        self._handler = HashingHandler()
        self._alias = Alias(self.directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            from_process_zero(lambda: put_aside_what_is_none(self.directory))
            self._manager = ocp.CheckpointManager(
                self._alias.path,
                options=options,
                item_handlers={_STATE: self._handler, METADATA: ocp.JsonCheckpointHandler()},
            )
        except OSError as error:
            self._alias.remove()
            raise InputError(
                f"{self.directory}: cannot keep checkpoints there ({error.strerror or error})"
            ) from error

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint; None when there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step of the best checkpoint that is there; None where none is kept as such."""
        ranked = self._best.ranked(self._manager.all_steps()) if self._best else []
        return ranked[-1] if ranked else None

    def save(self, step: int, state: PyTree, metadata: Mapping[str, Any]) -> None:
        """Starts saving, and returns once the state is copied: its buffers may then be donated.

        Waits for the save before this one, should it still be running, and raises what went wrong with it. Saving
        the latest step once more does nothing.

        Args:
          step: a step later than that of every checkpoint in the directory.
          state: any pytree of jax arrays.
          metadata: JSON-able facts to store along (seed, plan step, config hash, ...).

        Raises:
          InputError: the directory holds a later checkpoint, the last save could not be written, or there are metrics
            and none of them is `best_metric`.
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
        self._saving = (step, describe(flat))
        if self._best is not None:
            self._best.note(step, metadata.get("metrics", {}))
        with storage_trouble_is_named(self.directory, step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=HashedSave(flat), metadata=ocp.args.JsonSave(dict(metadata))
                ),
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
        chosen = self._choose(step, describe(flat))
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
            args=ocp.args.Composite(state=HashedRestore(targets), metadata=ocp.args.JsonRestore()),
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
        with storage_trouble_is_named(self.directory, self._saving and self._saving[0]):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the background threads.

        Raises:
          InputError: the last save could not be written. Earlier checkpoints are untouched.
        """
        try:
            with storage_trouble_is_named(self.directory, self._saving and self._saving[0]):
                self._manager.close()
        finally:
            self._alias.remove()

    def _write_manifest(self) -> None:
        # Called in orbax's thread on process 0, when all files are there and the directory has yet to be committed.
        assert self._saving is not None
        step, tree = self._saving
        prefix = f"{step}.orbax-checkpoint-tmp"
        places = [path for path in self.directory.iterdir() if path.name.startswith(prefix)]
        # Object stores know no renaming; there the directory has its final name from the start.
        place = places[0] if places else self.directory / str(step)
        known = {f"{_STATE}/{name}": value for name, value in self._handler.hashes().items()}
        write_manifest(place, tree, known)

    def _choose(self, step: int | None, wanted: Mapping[str, Any]) -> int:
        """The step to restore. Compares the trees before files are hashed, so that a wrong config is told at once."""
        steps = from_process_zero(lambda: sorted(self._manager.all_steps(), reverse=True))
        if not steps or (step is not None and step not in steps):
            have = f"has steps {sorted(steps)}" if steps else "has none"
            asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise InputError(f"{self.directory}: {asked}; the directory {have}")
        for candidate in steps if step is None else [step]:
            place = self.directory / str(candidate)
            damage = damage_of(place, wanted)
            if not damage:
                return candidate
            if step is not None:
                raise InputError(f"{place}: {damage}; use another step ({sorted(steps)})")
            from_process_zero(functools.partial(_give_up, place, damage))
        raise InputError(f"{self.directory}: every checkpoint is damaged (now named damaged-STEP)")


def _give_up(place: epath.Path, damage: str) -> None:
    aside = put_aside(place)
    log.warning("%s: %s; moved to %s, trying an earlier one", place, damage, aside)


def _flat(tree: PyTree) -> dict[str, Any]:
    """Path ("params/encoder/...") -> leaf, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(flat) != len(leaves):
        raise ValueError("two leaves of the state have the same path")
    return flat
