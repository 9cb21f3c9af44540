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

    def with_layers(self, encoder: int, decoder: int) -> OpenedModel:
        """The same model with so many layers of each stack, spread evenly: the first, the last, and between them every
        so-manieth.

        Source: distil-whisper (Gandhi et al. 2023, arXiv:2311.00430), which begins its students so.

        Raises:
          InputError: there are not so many.
        """
        config = self.config
        there = {"encoder": config.num_encoder_layers, "decoder": config.num_decoder_layers}
        kept = {"encoder": encoder, "decoder": decoder}
        if missing := [stack for stack in kept if kept[stack] > there[stack]]:
            raise InputError(
                f"model.layers: {kept[missing[0]]} layers are to be kept of the {missing[0]}, and {self.source} has"
                f" {there[missing[0]]}"
            )
        number = {  # a layer's path here -> its path there
            f"{stack}/layers_{old}": f"{stack}/layers_{new}"
            for stack in kept
            for new, old in enumerate(spread(kept[stack], there[stack]))
        }
        stored = {}
        for path, one in self.stored.items():
            layer, rest = "/".join(path.split("/")[:2]), path.split("/")[2:]
            if "/layers_" not in layer:
                stored[path] = one
            elif layer in number:
                stored["/".join([number[layer], *rest])] = one
        fewer = dataclasses.replace(config, num_encoder_layers=encoder, num_decoder_layers=decoder)
        return OpenedModel(fewer, self.source, stored)

    def fingerprint(self, dtype: str | None) -> str:
        """`params.fingerprint`, rounded, of the weights as the files hold them, or read as `dtype`; one at a time."""
        leaves = (
            (path, converted(tensor.read(), dtype, f"{self.source}: {name}"))
            for path, (name, tensor) in sorted(self.stored.items())
        )
        return fingerprint_of(leaves, rounded=True)


def spread(count: int, there: int) -> list[int]:
    """So many of the numbers 0 .. there - 1, evenly spread, first and last among them; one alone is the first.

    >>> spread(3, 12), spread(1, 6)
    ([0, 5, 11], [0])
    """
    return [at * (there - 1) // max(count - 1, 1) for at in range(count)]


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
