"""A stand-in for Google Cloud Storage: an fsspec file system with an object store's habits over a local folder.

There are no folders but as prefixes of names, an object cannot grow (appending begins it anew, as gcsfs has it), and a
rename is a copy and a removal.
"""

import contextlib
import os
import pathlib
import shutil
import types
from collections.abc import Iterator
from typing import Any

import pytest
from etils.epath import backend
from fsspec.registry import _registry, register_implementation
from fsspec.spec import AbstractFileSystem
from orbax.checkpoint._src.path import gcs_utils


class ObjectStore(AbstractFileSystem):
    """gs://bucket/name is the file `root`/bucket/name."""

    protocol = ("gs", "gcs")
    cachable = False
    root: pathlib.Path  # set by the test that registers it

    def __init__(self, **settings: Any):
        super().__init__()

    def _local(self, path: Any) -> pathlib.Path:
        return self.root / self._strip_protocol(os.fspath(path))

    def _is_prefix(self, local: pathlib.Path) -> bool:
        return local.is_dir() and any(file.is_file() for file in local.rglob("*"))

    def info(self, path: Any, **_: Any) -> dict[str, Any]:
        local, name = self._local(path), self._strip_protocol(os.fspath(path))
        if local.is_file():
            return {"name": name, "size": local.stat().st_size, "type": "file"}
        if self._is_prefix(local):
            return {"name": name, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: Any, detail: bool = True, **_: Any) -> list[Any]:
        self.info(path)
        local, name = self._local(path), self._strip_protocol(os.fspath(path))
        if local.is_file():
            found = [self.info(path)]
        else:
            children = sorted(local.iterdir())
            found = [
                self.info(f"{name}/{child.name}")
                for child in children
                if child.is_file() or self._is_prefix(child)
            ]
        return found if detail else [entry["name"] for entry in found]

    def mkdir(self, path: Any, create_parents: bool = True, **_: Any) -> None:
        """There is nothing to make."""

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """There is nothing to make."""

    def rmdir(self, path: Any) -> None:
        """There is nothing to remove."""

    def rm_file(self, path: Any) -> None:
        if not self._local(path).is_dir():
            self._local(path).unlink()

    def cp_file(self, path1: Any, path2: Any, **_: Any) -> None:
        source, target = self._local(path1), self._local(path2)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def _open(self, path: Any, mode: str = "rb", **_: Any) -> Any:
        local = self._local(path)
        if mode == "rb":
            return local.open("rb")
        local.parent.mkdir(parents=True, exist_ok=True)
        return local.open("wb")  # "ab" too


@contextlib.contextmanager
def as_google_storage(root: pathlib.Path) -> Iterator[None]:
    """Paths gs://bucket/... are files under `root` for epath, and for what orbax asks Google's own client and
    tensorstore for (which go by the network, past fsspec)."""

    def kvstore(path: Any) -> dict[str, Any]:
        bucket, name = gcs_utils.parse_gcs_path(path, add_trailing_slash=False)
        return {"driver": "file", "path": str(root / bucket / name)}

    store = type("Store", (ObjectStore,), {"root": root})
    find = backend.fsspec_backend._get_filesystem
    before = {name: _registry.get(name) for name in ObjectStore.protocol}
    find.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ObjectStore.protocol:
                register_implementation(name, store, clobber=True)
            flat = types.SimpleNamespace(hierarchical_namespace_enabled=False)
            patch.setattr(gcs_utils, "get_bucket", lambda name: flat)
            patch.setattr(gcs_utils, "get_kvstore_for_gcs", kvstore)
            yield
    finally:
        find.cache_clear()
        for name, one in before.items():
            _registry.pop(name, None)
            if one is not None:
                _registry[name] = one
