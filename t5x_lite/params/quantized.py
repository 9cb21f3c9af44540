"""Weights in 8 or 4 bits: integers and a scale for each output channel, or for each group of inputs of a channel.

A kernel [*inputs, *outputs] is kept as whole numbers of its shape and float32 scales, and is made a float again where a
product takes it, so that what lies in memory (and what is read for a token, where the compiler fuses the two) is the
integers. Symmetric, without a zero point, rounded to the nearest: the scale is the largest magnitude over 127, or 7
(Dettmers et al. 2022, LLM.int8(), section 2.1; groups as in Dettmers et al. 2023, QLoRA).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from t5x_lite.errors import InputError
from t5x_lite.params.integers import Quantized, is_quantized
from t5x_lite.params.paths import map_with_path
from t5x_lite.params.roles import matrix_inputs

LARGEST = {"int8": 127, "int4": 7}
# Inputs that share a scale. A channel of 8 bits needs no more than one.
GROUPS = {"int8": 0, "int4": 64}
_TABLE = "token_embedder/embedding"


@functools.partial(jax.jit, static_argnames=("inputs", "bits", "group"))
def quantize(weight: jax.Array, inputs: int, bits: str, group: int = 0) -> Quantized:
    """A weight [*inputs, *outputs] in integers.

    Args:
      inputs: how many of its first axes are inputs, which share a scale.
      bits: "int8" or "int4".
      group: how many inputs share one; 0, or where they do not divide: all.
    """
    weight = weight.astype(jnp.float32)
    first, inner = weight.shape[0], math.prod(weight.shape[1:inputs])
    rows = max(1, group // inner) if group else first
    groups = first // rows if rows < first and first % rows == 0 else 1
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    largest = jnp.max(jnp.abs(parts), axis=tuple(range(1, inputs + 1)), keepdims=True)
    scale = jnp.where(largest > 0, largest / LARGEST[bits], 1.0)
    values = jnp.round(parts / scale).astype(jnp.dtype(bits))
    return Quantized(values.reshape(weight.shape), scale[:, 0])


@functools.partial(jax.jit, static_argnames="bits")
def _by_row(table: jax.Array, bits: str) -> Quantized:
    return quantize(table.T, 1, bits).T


def check_quantization(bits: str, where: str) -> None:
    """Raises:
    InputError: `bits` is neither "none", "int8" nor "int4".
    """
    if bits != "none" and bits not in LARGEST:
        raise InputError(f"{where} must be 'none', 'int8' or 'int4', got {bits!r}")


def quantize_params(params: Any, bits: str) -> Any:
    """The parameters with each leaf as `quantize_leaf` makes it. params: canonical, unrolled."""
    return map_with_path(lambda path, leaf: quantize_leaf(path, leaf, bits), params)


def quantize_leaf(path: str, leaf: Any, bits: str) -> Any:
    """A matrix in integers: projections by output channel, token embeddings by row; anything else as it is.

    Norms, position tables and biases are no matrices.

    Args:
      path: canonical, of an unrolled model.
      leaf: an array, or its `jax.ShapeDtypeStruct`, for which nothing is computed.
      bits: "none" (nothing changes), "int8" or "int4".
    """
    inputs = matrix_inputs(path, len(leaf.shape))
    if bits == "none":
        return leaf
    if path.endswith(_TABLE):
        make: Callable[[Any], Quantized] = functools.partial(_by_row, bits=bits)
    elif inputs is not None:
        make = functools.partial(quantize, inputs=inputs, bits=bits, group=GROUPS[bits])
    else:
        return leaf
    return jax.eval_shape(make, leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else make(leaf)


def float_params(params: Any, dtype: str = "float32") -> Any:
    """The parameters with every weight a float: what a quantized model computes with."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if is_quantized(leaf) else leaf,
        params,
        is_leaf=is_quantized,
    )


def bytes_of(params: Any) -> int:
    """Bytes that parameters take where 4-bit integers are packed, two a byte (as accelerators hold them)."""
    return sum(
        math.ceil(leaf.size * (4 if leaf.dtype == jnp.int4 else 8 * leaf.dtype.itemsize) / 8)
        for leaf in jax.tree.leaves(params)
    )
