"""Checkpoints that t5x wrote through orbax (from 2023 on): the arrays of a directory, in OCDBT or a folder an array."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from t5x_lite.foreign.json_files import read_json
from t5x_lite.foreign.names import inside
from t5x_lite.foreign.sizes import refuse_larger
from t5x_lite.interop.tensors import DTYPES, Tensor, damage_is_named, unreadable

_METADATA, _OCDBT, _ZARR = "_METADATA", "manifest.ocdbt", ".zarray"
_TARGET = "target"  # the parameters' place in t5x's train state
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError)


def orbax_directory(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory of a train state that t5x wrote through orbax: `source`, or `state` in it; None: there is none."""
    path = pathlib.Path(source).expanduser()
    for place in (path, path / "state"):
        metadata = place / _METADATA
        if metadata.is_file() and f'"{_TARGET}"' in metadata.read_text(encoding="utf-8"):
            return place
        if next(place.glob(f"{_TARGET}.*/{_ZARR}"), None) is not None:
            return place
    return None


def orbax_arrays(directory: pathlib.Path) -> Iterator[tuple[str, Tensor]]:
    """Every array of the directory, by its "/"-joined keys; each is read when asked.

    Raises:
      InputError: a description that is damaged.
    """
    for keys in _all_keys(directory):
        name = "/".join(keys)
        if keys[0] == _TARGET:
            yield name, _array(directory, ".".join(keys))
        else:  # the optimizer's: named, never read
            yield name, unreadable((), f"{directory}: {name} is no parameter")


def _all_keys(directory: pathlib.Path) -> Iterator[tuple[str, ...]]:
    file = directory / _METADATA
    if not file.is_file():
        for found in sorted(directory.glob(f"*/{_ZARR}")):
            yield tuple(found.parent.name.split("."))
        return
    with damage_is_named(file, *_DAMAGE):
        tree = read_json(file)["tree_metadata"]
        every = [tuple(str(key["key"]) for key in leaf["key_metadata"]) for leaf in tree.values()]
        if not all(every):
            raise ValueError("an array without a name")
    yield from every


def _array(directory: pathlib.Path, name: str) -> Tensor:
    import tensorstore

    folder = inside(directory, name, directory / _METADATA)
    kvstore: dict[str, Any] = {"driver": "file", "path": f"{folder}/"}
    if (directory / _OCDBT).is_file():
        kvstore = {"driver": "ocdbt", "base": f"file://{directory.resolve()}/", "path": f"{name}/"}
    with damage_is_named(directory, *_DAMAGE):
        store = tensorstore.open({"driver": "zarr", "kvstore": kvstore}, read=True).result()
    dtype = store.dtype.numpy_dtype
    if dtype not in DTYPES.values():
        return unreadable(
            store.shape, f"{directory}: {name} has type {dtype}; weights must be floats"
        )

    refuse_larger(store.shape, dtype.itemsize, f"{directory}: {name}")

    def read() -> np.ndarray:
        with damage_is_named(directory, *_DAMAGE):
            return np.asarray(store.read().result())

    return Tensor(tuple(store.shape), dtype, read)
