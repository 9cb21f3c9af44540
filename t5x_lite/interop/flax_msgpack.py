"""`flax_model.msgpack`: the weights of transformers' former Flax models, under the names of its PyTorch models.

The file is one msgpack map of maps whose leaves are extension objects (shape, dtype, bytes); an array over 1 GiB is a
map of chunks. The maps are walked over a memory map, so each tensor is read alone.
"""

from __future__ import annotations

import math
import mmap
import pathlib
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.interop.tensors import DTYPES, Tensor, damage_is_named, unreadable

_ARRAYS = (1, 3)  # flax.serialization's extension codes of an array and of a numpy scalar
_CHUNKED = "__msgpack_chunked_array__"
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, struct.error, msgpack.UnpackException)

# First byte -> (format of the length, bytes between the length and the data).
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_LISTS = {0xDC: ">H", 0xDD: ">I"}
_TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_EXTENSIONS = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_SCALARS = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8} | {
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}


def open_flax_msgpack(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a Flax model file under PyTorch's names and in PyTorch's layout (kernels transposed).

    Raises:
      InputError: the file is unreadable, truncated or damaged, or holds anything but arrays. One that is
        no float has a `fault`.
    """
    with damage_is_named(path, *_DAMAGE):
        return dict(_tensors(path, read_tree(path), ()))


def read_tree(path: pathlib.Path) -> dict[str, Any]:
    """The map of maps that a file of flax's msgpack format holds; its arrays are memoryviews, for `array`.

    Raises:
      InputError: the file is unreadable, truncated or damaged.
    """
    with damage_is_named(path, *_DAMAGE):
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tree, end = _walk(data, 0)
        if not isinstance(tree, dict) or end != len(data):
            raise ValueError("ends too early or too late, or is no map")
        return tree


def is_array(node: Any) -> bool:
    """Whether a node of `read_tree` is an array, whole or in chunks."""
    return isinstance(node, memoryview) or (isinstance(node, dict) and _CHUNKED in node)


def array(path: pathlib.Path, where: tuple[str, ...], node: Any) -> Tensor:
    """An array of `read_tree`, found at the keys `where`.

    Raises:
      InputError: it is damaged or no array. One that is no float has a `fault`.
    """
    with damage_is_named(path, *_DAMAGE):
        return _chunked(path, where, node) if isinstance(node, dict) else _array(path, where, node)


def _tensors(path: pathlib.Path, tree: dict, prefix: tuple[str, ...]) -> Any:
    for key, node in tree.items():
        here = (*prefix, key)
        if isinstance(node, dict) and not is_array(node):
            yield from _tensors(path, node, here)
            continue
        tensor = array(path, here, node)
        # "kernel", "embedding", "scale" and (T5's norms) "weight" are all torch's weight.
        name = ".".join((*prefix, "bias" if key == "bias" else "weight"))
        if key == "kernel" and not tensor.fault:
            tensor = Tensor(tensor.shape[::-1], tensor.dtype, _transposed(tensor.read))
        yield name, tensor


def _transposed(read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    return lambda: read().T


def _array(path: pathlib.Path, where: tuple[str, ...], node: Any) -> Tensor:
    if not isinstance(node, memoryview):
        raise InputError(f"{path}: {'/'.join(where)} is no array")
    # The extension's payload is msgpack's [shape, dtype, bytes]; the head of it is enough to describe it.
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(bytes(node[:512]))
    unpacker.read_array_header()
    shape, dtype = tuple(unpacker.unpack()), unpacker.unpack()
    if dtype not in DTYPES:
        fault = f"{path}: {'/'.join(where)} has type {dtype}; weights must be floats"
        return unreadable(shape, fault)

    def read() -> np.ndarray:
        with damage_is_named(path, *_DAMAGE):
            payload = msgpack.unpackb(node, max_bin_len=len(node))[2]
            return np.frombuffer(payload, DTYPES[dtype]).reshape(shape)

    if math.prod(shape) * DTYPES[dtype].itemsize > len(node):
        raise ValueError(f"{'/'.join(where)} is shorter than its shape says")
    return Tensor(shape, DTYPES[dtype], read)


def _chunked(path: pathlib.Path, where: tuple[str, ...], node: dict) -> Tensor:
    sizes, chunks = node["shape"], node["chunks"]
    shape = tuple(sizes[str(axis)] for axis in range(len(sizes)))
    parts = [_array(path, where, chunks[str(number)]) for number in range(len(chunks))]

    def read() -> np.ndarray:
        with damage_is_named(path, *_DAMAGE):
            return np.concatenate([part.read() for part in parts]).reshape(shape)

    return Tensor(shape, parts[0].dtype, read)


def _walk(data: mmap.mmap, at: int) -> tuple[Any, int]:
    """The object at `at` (arrays as memoryviews of their payload) and where it ends."""
    first = data[at]
    if first >> 4 == 0x8 or first in _MAPS:
        size, at = (first & 0xF, at + 1) if first >> 4 == 0x8 else _length(data, at, _MAPS[first])
        tree = {}
        for _ in range(size):
            key, at = _walk(data, at)
            tree[key], at = _walk(data, at)
        return tree, at
    if first >> 4 == 0x9 or first in _LISTS:
        size, at = (first & 0xF, at + 1) if first >> 4 == 0x9 else _length(data, at, _LISTS[first])
        items = []
        for _ in range(size):
            item, at = _walk(data, at)
            items.append(item)
        return items, at
    if first >> 5 == 0b101 or first in _TEXTS:
        size, at = (
            (first & 0x1F, at + 1) if first >> 5 == 0b101 else _length(data, at, _TEXTS[first])
        )
        return data[at : at + size].decode(), at + size
    if first in _EXTENSIONS or first in _FIXED_EXTENSIONS:
        if first in _EXTENSIONS:
            size, at = _length(data, at, _EXTENSIONS[first])
        else:
            size, at = _FIXED_EXTENSIONS[first], at + 1
        if data[at] not in _ARRAYS:
            raise ValueError(f"extension {data[at]} is no array")
        return memoryview(data)[at + 1 : at + 1 + size], at + 1 + size
    size = 0 if first < 0x80 else _SCALARS.get(first)  # type: ignore[assignment]
    if size is None:
        raise ValueError(f"unexpected byte {first:#x}")
    return msgpack.unpackb(data[at : at + 1 + size]), at + 1 + size


def _length(data: mmap.mmap, at: int, layout: str) -> tuple[int, int]:
    (size,) = struct.unpack_from(layout, data, at + 1)
    return size, at + 1 + struct.calcsize(layout)
