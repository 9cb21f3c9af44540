"""Arrays as t5x directories hold them: zarr version 2, a folder an array, chunks plain or compressed by gzip or zlib.

Source: the zarr storage specification version 2; tensorstore's "zarr" driver, which also knows bfloat16.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.interop.tensors import Tensor, damage_is_named

_DECOMPRESSORS: dict[str | None, Callable[[bytes], bytes]] = {
    None: lambda data: data,
    "gzip": gzip.decompress,
    "zlib": zlib.decompress,
}
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error)


def open_zarr(folder: pathlib.Path) -> Tensor:
    """The array in `folder`; its chunks are read when asked.

    Raises:
      InputError: no array is there, or one that is no float array, is damaged, or is compressed otherwise.
    """
    file = folder / ".zarray"
    with damage_is_named(file, *_DAMAGE):
        fields = json.loads(file.read_text(encoding="utf-8"))
        shape, chunks = tuple(fields["shape"]), tuple(fields["chunks"])
        compressor = (fields.get("compressor") or {}).get("id")
        name = fields["dtype"]
        dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
        if fields["zarr_format"] != 2 or len(shape) != len(chunks) or min(chunks, default=1) < 1:
            raise ValueError("is no description of a zarr version 2 array")
    if compressor not in _DECOMPRESSORS or fields.get("filters"):
        raise InputError(
            f"{file}: compressed by {compressor or fields['filters']}; gzip, zlib and none can be read"
        )
    if name != "bfloat16" and dtype.kind != "f":
        raise InputError(f"{file}: has type {name}; weights must be floats")

    def read() -> np.ndarray:
        array = np.full(shape, fields.get("fill_value") or 0, dtype)
        counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
        for index in itertools.product(*map(range, counts)):
            separator = fields.get("dimension_separator", ".")
            chunk_file = folder / (separator.join(map(str, index)) or "0")
            if chunk_file.exists():  # one that is not there holds the fill value alone
                _copy(chunk_file, array, index, chunks, fields["order"], _DECOMPRESSORS[compressor])
        return array.astype(dtype.newbyteorder("="), copy=False)

    return Tensor(shape, dtype.newbyteorder("="), read)


def _copy(
    file: pathlib.Path,
    array: np.ndarray,
    index: tuple[int, ...],
    chunks: tuple[int, ...],
    order: Any,
    decompress: Callable[[bytes], bytes],
) -> None:
    """Puts a chunk in its place; those at the end of an axis are padded to a whole chunk."""
    with damage_is_named(file, *_DAMAGE):
        data = decompress(file.read_bytes())
        if len(data) != math.prod(chunks) * array.dtype.itemsize:
            raise ValueError(f"holds {len(data)} bytes, not a chunk of {chunks}")
        chunk = np.frombuffer(data, array.dtype).reshape(chunks, order=order)
        starts = [i * size for i, size in zip(index, chunks, strict=True)]
        place = tuple(
            slice(start, start + size) for start, size in zip(starts, chunks, strict=True)
        )
        ends = array[place].shape
        array[place] = chunk[tuple(slice(end) for end in ends)]
