"""`OpenedModel`: a checkpoint whose files were checked against its architecture; its weights have yet to be read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from t5x_lite.console import progress
from t5x_lite.errors import InputError
from t5x_lite.interop.finite import READ, checked
from t5x_lite.interop.tensors import DTYPES, Tensor
from t5x_lite.models.config import T5Config
from t5x_lite.params.fingerprint import fingerprint_of
from t5x_lite.params.quantized import quantize_leaf

Params = dict[str, Any]
_NAMES_SHOWN = 8


class Stored(NamedTuple):
    """A parameter in a file: what the file calls it, and the tensor in our layout."""

    name: str
    tensor: Tensor


@dataclasses.dataclass(frozen=True)
class OpenedModel:
    """A model whose files are known to be those of its `config`.

    source: the directory or file. stored: by canonical path, in the order in which to read.
    """

    config: T5Config
    source: os.PathLike[str]
    stored: Mapping[str, Stored]

    def read(
        self,
        param_dtype: str | None,
        shardings: Params | None = None,
        quantization: str = "none",
    ) -> Params:
        """The canonical unrolled parameter tree (nested dicts of jax arrays).

        Weights are read one tensor at a time, each straight into its sharding: no process ever holds more than its
        shards and one tensor.

        Args:
          param_dtype: "float32", "bfloat16" or "float16"; None keeps the type of each tensor in the file.
          shardings: a tree like the parameters with a `jax.sharding.Sharding` a leaf; None puts all on the default
            device.
          quantization: "int8" or "int4": each matrix becomes integers as soon as it is read (`params.quantized`).

        Raises:
          InputError: a file that cannot be read, values that the type cannot hold, or that are not finite.
        """
        placed = traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
        params = {}
        with progress(
            len(self.stored), f"loading {os.path.basename(self.source)}", "tensor"
        ) as bar:
            for path, (name, tensor) in self.stored.items():
                where = f"{self.source}: {name}"
                array = checked(converted(tensor.read(), param_dtype, where), where, READ)
                # Waiting for the transfer keeps the host at one tensor.
                placed_array = _place(array, placed.get(path)).block_until_ready()
                params[path] = quantize_leaf(path, placed_array, quantization)
                bar.update()
        return traverse_util.unflatten_dict(params, sep="/")

    def fingerprint(self, dtype: str | None) -> str:
        """`params.fingerprint`, rounded, of the weights as the files hold them, or read as `dtype`; one at a time."""
        leaves = (
            (path, converted(tensor.read(), dtype, f"{self.source}: {name}"))
            for path, (name, tensor) in sorted(self.stored.items())
        )
        return fingerprint_of(leaves, rounded=True)


def converted(array: np.ndarray, dtype: str | None, where: str) -> np.ndarray:
    """The array in `dtype` (None: as it is).

    Raises:
      InputError: another type than the three, float64 that nobody asked to convert, or values beyond float16's range.
    """
    if dtype is None:
        if array.dtype == np.float64:  # jax would make it float32 without a word
            raise InputError(f"{where} is float64; say which param_dtype to convert it to")
        return array
    if dtype not in DTYPES or dtype == "float64":
        raise InputError(f"dtype {dtype!r}: expected float32, bfloat16 or float16")
    with np.errstate(over="ignore"):
        result = array.astype(DTYPES[dtype])
    if dtype == "float16" and not np.array_equal(np.isfinite(array), np.isfinite(result)):
        raise InputError(f"{where} has values beyond float16's range; choose bfloat16 or float32")
    return result


def differences(
    want: Mapping[str, tuple[int, ...]], have: Mapping[str, tuple[int, ...]], where: str
) -> str:
    """One line that says how the shapes of the model differ from those found; "" if they do not.

    >>> differences({"a": (1,), "b": (2,)}, {"b": (3,), "c": (1,)}, "the file")
    "only in the model: a; only in the file: c; other shapes (the model's against the file's): b (2,) against (3,)"
    """
    shapes = [
        f"{name} {want[name]} against {have[name]}"
        for name in want
        if name in have and want[name] != have[name]
    ]
    parts = []
    for title, names in (
        ("only in the model", [name for name in want if name not in have]),
        (f"only in {where}", [name for name in have if name not in want]),
        (f"other shapes (the model's against {where}'s)", shapes),
    ):
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            parts.append(f"{title}: {', '.join(names[:_NAMES_SHOWN])}{more}")
    return "; ".join(parts)


def _place(array: np.ndarray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    if sharding is None:
        return jax.device_put(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
