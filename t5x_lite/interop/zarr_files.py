"""Arrays as t5x directories hold them: zarr version 2, a folder an array, chunks plain or compressed by gzip or zlib.

Source: the zarr storage specification version 2; tensorstore's "zarr" driver, which also knows bfloat16.
"""

from __future__ import annotations

import itertools
import math
import pathlib
import zlib
from typing import Any

import ml_dtypes
import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json
from t5x_lite.foreign.sizes import refuse_larger
from t5x_lite.interop.tensors import Tensor, damage_is_named

_COMPRESSORS = (None, "gzip", "zlib")
_ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's
_MOST_CHUNKS = 1_000_000
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error)


def open_zarr(folder: pathlib.Path) -> Tensor:
    """The array in `folder`; its chunks are read when asked.

    Raises:
      InputError: no array is there, or one that is no float array, is damaged, or is compressed otherwise.
    """
    file = folder / ".zarray"
    with damage_is_named(file, *_DAMAGE):
        fields = read_json(file)
        shape, chunks = _sizes(fields["shape"], 0), _sizes(fields["chunks"], 1)
        compressor = (fields.get("compressor") or {}).get("id")
        name = fields["dtype"]
        dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
        separator, order = fields.get("dimension_separator", "."), fields["order"]
        fill = float(fields.get("fill_value") or 0)
        if fields["zarr_format"] != 2 or len(shape) != len(chunks):
            raise ValueError("is no description of a zarr version 2 array")
        if separator not in (".", "/") or order not in ("C", "F"):
            raise ValueError(f"dimension_separator {separator!r} and order {order!r}")
        if compressor not in _COMPRESSORS or fields.get("filters"):
            raise InputError(
                f"{file}: compressed by {compressor or fields['filters']}; gzip, zlib and none can be read"
            )
        counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
        if math.prod(counts) > _MOST_CHUNKS:
            raise ValueError(f"over {_MOST_CHUNKS} chunks")
    for of in (shape, chunks):
        refuse_larger(of, dtype.itemsize, file)
    if name != "bfloat16" and dtype.kind != "f":
        raise InputError(f"{file}: has type {name}; weights must be floats")

    def read() -> np.ndarray:
        array = np.full(shape, fill, dtype)
        for index in itertools.product(*map(range, counts)):
            chunk_file = folder / (separator.join(map(str, index)) or "0")
            if chunk_file.exists():  # one that is not there holds the fill value alone
                _copy(chunk_file, array, index, chunks, order, compressor is not None)
        return array.astype(dtype.newbyteorder("="), copy=False)

    return Tensor(shape, dtype.newbyteorder("="), read)


def _sizes(values: Any, least: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(v) is int and v >= least for v in values):
        raise ValueError(f"the sizes {values!r:.80}")
    return tuple(values)


def _copy(
    file: pathlib.Path,
    array: np.ndarray,
    index: tuple[int, ...],
    chunks: tuple[int, ...],
    order: Any,
    compressed: bool,
) -> None:
    """Puts a chunk in its place; those at the end of an axis are padded to a whole chunk."""
    with damage_is_named(file, *_DAMAGE):
        data, size = file.read_bytes(), math.prod(chunks) * array.dtype.itemsize
        if compressed:
            stream = zlib.decompressobj(_ANY_HEADER)
            data = stream.decompress(data, size + 1)  # however much more it would unpack to
            if not stream.eof:
                raise EOFError(f"does not end after a chunk of {chunks}")
        if len(data) != size:
            raise ValueError(f"holds {len(data)} bytes, not a chunk of {chunks}")
        chunk = np.frombuffer(data, array.dtype).reshape(chunks, order=order)
        starts = [i * size for i, size in zip(index, chunks, strict=True)]
        place = tuple(
            slice(start, start + size) for start, size in zip(starts, chunks, strict=True)
        )
        ends = array[place].shape
        array[place] = chunk[tuple(slice(end) for end in ends)]
