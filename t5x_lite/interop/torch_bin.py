"""`pytorch_model.bin` without torch and without trust: a reader that knows tensors and nothing else.

Such a file is a pickle, and a general unpickler runs whatever code the file names. This one resolves only what a
plain state dict needs (an ordered dict, the storage types, the function that puts a view on a storage) and refuses
every other name. Both layouts are read: the zip archive of torch >= 1.6, and the older chain of pickles.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.foreign.sizes import refuse_larger
from t5x_lite.interop.tensors import DTYPES, Tensor, damage_is_named, unreadable

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
}
# Types that are skipped over and never read: those of buffers, and of weights that were quantized.
_OTHERS: dict[str, np.dtype] = {
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DAMAGE = (
    # What unpickling a damaged stream has been seen to raise.
    *(pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, zipfile.BadZipFile, struct.error, UnicodeError, NotImplementedError),
)


@dataclasses.dataclass(frozen=True)
class _StorageType:
    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    dtype: np.dtype
    key: str
    length: int


@dataclasses.dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _view(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _View:
    # The rest (requires_grad, backward hooks, metadata) is not part of the values.
    return _View(storage, offset, tuple(shape), tuple(strides))


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: pathlib.Path):
        super().__init__(file, encoding="utf-8")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name.endswith("Storage"):
            return _StorageType(name)
        raise InputError(
            f"{self._path}: refused to load {module}.{name}; only a plain state dict of tensors is read"
            " (save model.state_dict(), or convert the file to safetensors)"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, length = pid[:5]
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent id {kind!r}")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("views of storages are not read")
        if storage_type.name in _OTHERS:
            return _Storage(_OTHERS[storage_type.name], key, length)
        if storage_type.name not in _STORAGES:
            raise InputError(
                f"{self._path}: holds a torch.{storage_type.name}; weights must be floats"
            )
        return _Storage(DTYPES[_STORAGES[storage_type.name]], key, length)


def open_torch_bin(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch state dict file, by name, each read only when asked.

    Raises:
      InputError: the file is unreadable, truncated or damaged, or holds anything but tensors. A tensor that
        is no float has a `fault`.
    """
    with damage_is_named(path, *_DAMAGE):
        opener = _open_zip if zipfile.is_zipfile(path) else _open_legacy
        state, read = opener(path)
        if not isinstance(state, dict):
            raise ValueError(f"holds a {type(state).__name__}, not a state dict")
        return {name: _tensor(path, name, view, read) for name, view in state.items()}


# Reads `count` bytes at `offset` of the storage with this key.
_Read = Callable[[_Storage, int, int], bytes]


def _tensor(path: pathlib.Path, name: str, view: Any, read: _Read) -> Tensor:
    if not isinstance(view, _View):
        raise InputError(f"{path}: {name} is a {type(view).__name__}, not a tensor")
    dtype = view.storage.dtype
    if dtype not in DTYPES.values():
        kind = next(kind for kind, stored in _OTHERS.items() if stored == dtype)
        return unreadable(view.shape, f"{path}: {name} is a torch.{kind}; weights must be floats")
    if not all(isinstance(n, int) for n in (view.offset, *view.shape, *view.strides)):
        raise ValueError(f"{name} has no whole numbers as its shape")
    last = sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    elements = last + 1 if all(view.shape) else 0
    if min((0, view.offset, *view.shape, *view.strides)) < 0 or (
        view.offset + elements > view.storage.length
    ):
        raise ValueError(f"{name} reaches outside its storage")

    refuse_larger(view.shape, dtype.itemsize, f"{path}: {name}")

    def load() -> np.ndarray:
        with damage_is_named(path, *_DAMAGE):
            data = read(view.storage, view.offset * dtype.itemsize, elements * dtype.itemsize)
            flat = np.frombuffer(data, dtype, count=elements)
        strides = tuple(stride * dtype.itemsize for stride in view.strides)
        return np.lib.stride_tricks.as_strided(flat, view.shape, strides).copy()

    return Tensor(view.shape, dtype, load)


def _open_zip(path: pathlib.Path) -> tuple[Any, _Read]:
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    pickled = next((name for name in names if name.endswith("/data.pkl")), None)
    if pickled is None:
        raise ValueError("a zip archive without data.pkl, which torch.save writes")
    root = pickled.removesuffix("data.pkl")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise InputError(f"{path}: written on a big-endian machine; convert it to safetensors")
    with archive.open(f"{root}data.pkl") as file:
        state = _TensorUnpickler(file, path).load()  # type: ignore[arg-type]

    def read(storage: _Storage, offset: int, count: int) -> bytes:
        with archive.open(f"{root}data/{storage.key}") as file:
            file.seek(offset)
            return file.read(count)

    return state, read


def _open_legacy(path: pathlib.Path) -> tuple[Any, _Read]:
    with path.open("rb") as file:

        def load() -> Any:
            return _TensorUnpickler(file, path).load()

        magic = load()
        if magic != _LEGACY_MAGIC:
            raise ValueError("not a PyTorch file")
        _, system, state, keys = load(), load(), load(), load()
        if not system["little_endian"]:
            raise InputError(f"{path}: written on a big-endian machine; convert it to safetensors")
        storages = {view.storage.key: view.storage for view in state.values()}
        starts = {}
        for key in keys:  # each storage: its length in elements as int64, then its data
            (length,) = struct.unpack("<q", file.read(8))
            starts[key] = file.tell()
            file.seek(length * storages[key].dtype.itemsize, 1)

    def read(storage: _Storage, offset: int, count: int) -> bytes:
        with path.open("rb") as file:
            file.seek(starts[storage.key] + offset)
            return file.read(count)

    return state, read
