"""`Tensor`: a tensor in a file, described now and read when asked. The safetensors format, read and written so."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from t5x_lite.errors import InputError
from t5x_lite.foreign.pointers import refuse_pointer_file

# What the three formats call the types that weights have. Anything else is refused by name.
DTYPES: Mapping[str, np.dtype] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# What reading makes of sizes and depths that no whole file states.
_ANY_DAMAGE: tuple[type[Exception], ...] = (MemoryError, OverflowError, RecursionError)
_SAFETENSORS_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_SAFETENSORS_NAMES = {ours: theirs for theirs, ours in _SAFETENSORS_DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that lies in a file. `read()` loads it alone, into memory of its own.

    fault: why it cannot be a weight (it holds whole numbers, say); a model that needs it refuses it with this.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    fault: str = ""


def unreadable(shape: tuple[int, ...], fault: str) -> Tensor:
    """A tensor that lies in a file and is no weight: many files have some, and few models need them."""

    def refuse() -> np.ndarray:
        raise InputError(fault)

    return Tensor(shape, np.dtype(np.void), refuse, fault)


@contextmanager
def damage_is_named(path: pathlib.Path, *errors: type[Exception]) -> Iterator[None]:
    """Turns `errors`, which mean that the file at `path` is not what its format says, into an InputError."""
    refuse_pointer_file(path)
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror or error})") from error
    except errors + _ANY_DAMAGE as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: truncated or damaged ({reason}); fetch or copy it again"
        ) from error


def open_safetensors(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
      InputError: the file is unreadable, truncated or damaged. A tensor that is no float has a `fault`.
    """
    with damage_is_named(path, safetensors.SafetensorError):
        file = safetensors.safe_open(path, framework="numpy")
        names = list(file.keys())

    def tensor(name: str) -> Tensor:
        piece = file.get_slice(name)
        dtype = _SAFETENSORS_DTYPES.get(piece.get_dtype())
        shape = tuple(piece.get_shape())
        if dtype is None:
            fault = (
                f"{path}: {name} has type {piece.get_dtype()}; weights must be floats"
                f" ({', '.join(_SAFETENSORS_DTYPES)})"
            )
            return unreadable(shape, fault)
        return Tensor(shape, DTYPES[dtype], lambda: file.get_tensor(name))

    return {name: tensor(name) for name in names}


def safetensors_metadata(path: pathlib.Path) -> dict[str, str]:
    """The free texts in a safetensors file's header, by name.

    Raises:
      InputError: the file is unreadable, truncated or damaged.
    """
    with damage_is_named(path, safetensors.SafetensorError):
        return dict(safetensors.safe_open(path, framework="numpy").metadata() or {})


def write_safetensors(
    path: Any, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes `tensors` as one safetensors file, reading each only when its turn has come.

    Args:
      path: a pathlib or epath path; written in place, so give it a temporary name.
      tensors: by name. What `read` returns must have the stated shape and type.
      metadata: further texts for the header.

    Raises:
      OSError: the disk is full, say.
    """
    # transformers 4 insists on the format.
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + nbytes(tensor)
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            array = tensor.read()
            if (array.shape, array.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(
                    f"{name}: {array.dtype}{array.shape} is not the stated {tensor.dtype}{tensor.shape}"
                )
            file.write(np.ascontiguousarray(array).tobytes())


def nbytes(tensor: Tensor) -> int:
    """The size of a tensor's data in bytes."""
    return int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize


def into_shards(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """Splits `tensors`, in order, into parts of at most `max_bytes` (a tensor over it is a part of its own)."""
    shards: list[dict[str, Tensor]] = []
    room = 0
    for name, tensor in tensors.items():
        if not shards or nbytes(tensor) > room:
            shards.append({})
            room = max_bytes
        shards[-1][name] = tensor
        room -= nbytes(tensor)
    return shards


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """The size of several tensors' data in bytes."""
    return sum(nbytes(tensor) for tensor in tensors)
