"""LoRA: a low-rank addition to frozen kernels, its variants rsLoRA and DoRA; creation, merging, unmerging.

An adapter tree has the paths of the kernels' modules: encoder/layers_0/attention/query/{lora_a, lora_b, ...}.
    lora_a          float32 [*inputs, rank]   uniform at first, as `peft` draws it
    lora_b          float32 [rank, *outputs]  zeros at first
    lora_magnitude  float32 [*outputs]        DoRA only: the norms of the kernel's columns at first
    lora_scaling    float32 []                alpha / rank, in rsLoRA alpha / sqrt(rank); never trained
    lora_dropout    float32 []                only where the rate is above 0; never trained
The last two make a tree whole: a model applies it without being told anything else.

Sources: LoRA, Hu et al. 2021 (arXiv:2106.09685); rsLoRA, Kalajdzievski 2023 (arXiv:2312.03732); DoRA, Liu et al.
2024 (arXiv:2402.09353).
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from t5x_lite.errors import InputError
from t5x_lite.foreign.patterns import matches_own
from t5x_lite.params.integers import is_quantized
from t5x_lite.params.paths import Params, flatten
from t5x_lite.params.roles import is_kernel, matrix_inputs
from t5x_lite.params.sections import Lora

LORA_LEAVES = (
    *("lora_a", "lora_b", "lora_magnitude", "lora_scaling", "lora_dropout"),
    *("lora_output_scale", "lora_rows"),  # of `with_output_scales` and `side_by_side`; in no file
)
_KERNEL = "/kernel"
Adapted = Mapping[str, jax.Array]  # the leaves of one adapted kernel, by name


class LoraSettings(Lora):
    """Which kernels get an adapter, and of what kind; (".*/(query|value)", 32) is what the LoRA paper and peft's T5
    default adapt.
    """

    def scaling(self, rank: int) -> float:
        """What the product of an adapter of this rank is multiplied with."""
        return self.alpha / (math.sqrt(rank) if self.rslora else rank)

    def ranks(self, params: Params) -> dict[str, int]:
        """The rank of each adapted module, by its path.

        Raises:
          InputError: a pattern that matches no module with a kernel.
        """
        modules = [path.removesuffix(_KERNEL) for path in flatten(params) if is_kernel(path)]
        for pattern, _ in self.targets:
            if not any(matches_own(pattern, module) for module in modules):
                kinds = sorted({re.sub(r"layers_\d+", "layers_{n}", module) for module in modules})
                raise InputError(
                    f"adapter.targets: {pattern!r} matches no projection; there are: {', '.join(kinds)}"
                )
        found = {}
        for module in modules:
            ranks = (rank for pattern, rank in self.targets if matches_own(pattern, module))
            if (rank := next(ranks, None)) is not None:
                found[module] = rank
        return found

    def init(self, params: Params, rng: jax.Array) -> Params:
        """A new adapter that changes nothing yet. `params`: canonical, unrolled; read for DoRA's norms alone.

        Each module draws from its own fold of `rng`, so that further targets do not change those there were.
        """
        kernels = flatten(params)
        result: Params = {}
        for module, rank in self.ranks(params).items():
            kernel = kernels[module + _KERNEL]
            inputs, outputs = split_axes(module, kernel.shape)
            bound = math.prod(inputs) ** -0.5
            key = jax.random.fold_in(rng, zlib.crc32(module.encode()))
            adapted = {
                "lora_a": jax.random.uniform(key, (*inputs, rank), jnp.float32, -bound, bound),
                "lora_b": jnp.zeros((rank, *outputs), jnp.float32),
                "lora_scaling": jnp.float32(self.scaling(rank)),
            }
            if self.dropout:
                adapted["lora_dropout"] = jnp.float32(self.dropout)
            if self.dora:
                adapted["lora_magnitude"] = column_norms(kernel, len(inputs))
            result |= {f"{module}/{name}": leaf for name, leaf in adapted.items()}
        return traverse_util.unflatten_dict(result, sep="/")

    def axes(self, params: Params, axes: Params) -> Params:
        """The logical axes of `init`'s leaves, from those of the kernels: an adapter lies as its kernel does."""
        of_kernels = {
            "/".join(path): names for path, names in traverse_util.flatten_dict(axes).items()
        }
        result: dict[str, tuple[str, ...]] = {}
        for module in self.ranks(params):
            inputs, outputs = split_axes(module, of_kernels[module + _KERNEL])
            result[f"{module}/lora_a"] = (*inputs, "lora_rank")
            result[f"{module}/lora_b"] = ("lora_rank", *outputs)
            result[f"{module}/lora_scaling"] = ()
            if self.dropout:
                result[f"{module}/lora_dropout"] = ()
            if self.dora:
                result[f"{module}/lora_magnitude"] = outputs
        return traverse_util.unflatten_dict(result, sep="/")


def split_axes(module: str, shape: tuple) -> tuple[tuple, tuple]:
    """The axes that a kernel contracts, and those it makes: attention's `out` takes heads and kv, all others one axis.

    >>> split_axes("decoder/layers_0/self_attention/query", (768, 12, 64))
    ((768,), (12, 64))
    >>> split_axes("decoder/layers_0/self_attention/out", (12, 64, 768))
    ((12, 64), (768,))
    """
    count = matrix_inputs(module + _KERNEL, len(shape))
    assert count is not None
    return tuple(shape[:count]), tuple(shape[count:])


def delta(adapted: Adapted) -> jax.Array:
    """What the adapter adds to the kernel (DoRA: before its norms are set), float32 [*inputs, *outputs]."""
    # Exact on every device: what is merged, and DoRA's norms, should be what the adapter holds.
    product = jnp.tensordot(
        adapted["lora_a"], adapted["lora_b"], axes=1, precision=jax.lax.Precision.HIGHEST
    )
    return product * adapted["lora_scaling"]


def column_norms(kernel: jax.Array, inputs: int) -> jax.Array:
    """Euclidean norms over the first `inputs` axes, float32."""
    squares = jnp.square(kernel.astype(jnp.float32))
    return jnp.sqrt(jnp.sum(squares, axis=tuple(range(inputs))))


def output_scale(kernel: jax.Array, adapted: Adapted) -> jax.Array:
    """DoRA's factor on each output, magnitude / norm, float32 [*outputs].

    The norm is that of the adapted kernel and counts as a constant: no gradient goes through it (section 4.3 of the
    paper). Where the kernel is sharded over its inputs, the sum of squares is summed over the shards.
    """
    inputs = adapted["lora_a"].ndim - 1
    norm = column_norms(kernel.astype(jnp.float32) + delta(adapted), inputs)
    return adapted["lora_magnitude"] / jax.lax.stop_gradient(norm)


def with_output_scales(params: Params, adapters: Params) -> Params:
    """The adapters with `lora_output_scale` in place of `lora_magnitude`, for many uses of weights that stay."""
    flat, kernels = flatten(adapters), flatten(params)
    for path in [path for path in flat if path.endswith("/lora_magnitude")]:
        module = path.removesuffix("/lora_magnitude")
        scale = output_scale(kernels[module + _KERNEL], adapted_of(flat, module))
        flat[f"{module}/lora_output_scale"] = scale
        del flat[path]
    return traverse_util.unflatten_dict(flat, sep="/")


def merge(params: Params, adapters: Params, *, dtype: str | None = None) -> Params:
    """Parameters that compute what `params` with `adapters` compute.

    dtype: of the kernels that are adapted; None: they keep theirs, and integers become float32. A bfloat16 kernel has
      no room for what an adapter adds in its first steps (a relative 2**-9), so "float32" is for those who need the
      same model.

    Raises:
      InputError: adapters that are no part of the weights (a soft prompt), or of modules that are not there.
    """
    kernels, flat = flatten(params), flatten(adapters)
    for module in adapted_modules(flat, kernels):
        kernel, adapted = kernels[module + _KERNEL], adapted_of(flat, module)
        merged = kernel.astype(jnp.float32) + delta(adapted)
        if "lora_magnitude" in adapted:
            adapted["lora_output_scale"] = output_scale(kernel, adapted)
        if "lora_output_scale" in adapted:
            merged = merged * _over_inputs(adapted["lora_output_scale"], merged)
        kept = "float32" if is_quantized(kernel) else kernel.dtype
        kernels[module + _KERNEL] = merged.astype(dtype or kept)
    return traverse_util.unflatten_dict(kernels, sep="/")


def unmerge(merged: Params, adapters: Params) -> Params:
    """The inverse of `merge`, within rounding.

    adapters: what was merged. Merging loses the norms that DoRA divided by, so of a DoRA adapter give
      `with_output_scales(params, adapters)`, made with the parameters before merging.

    Raises:
      InputError: as `merge`, and a DoRA adapter without its output scales.
    """
    kernels, flat = flatten(merged), flatten(adapters)
    for module in adapted_modules(flat, kernels):
        kernel, adapted = kernels[module + _KERNEL], adapted_of(flat, module)
        base = kernel.astype(jnp.float32)
        if "lora_magnitude" in adapted:
            raise InputError(
                f"adapters/{module}: merging lost the norms of this DoRA adapter; unmerge with what"
                " with_output_scales(params, adapters) gave before merging"
            )
        if "lora_output_scale" in adapted:
            base = base / _over_inputs(adapted["lora_output_scale"], base)
        kernels[module + _KERNEL] = (base - delta(adapted)).astype(kernel.dtype)
    return traverse_util.unflatten_dict(kernels, sep="/")


def adapted_modules(flat: Mapping[str, Any], kernels: Mapping[str, Any]) -> list[str]:
    """Paths of the modules that adapters (flattened) adapt.

    Raises:
      InputError: a leaf that is not LoRA's, or a module without a kernel.
    """
    modules: dict[str, None] = {}
    for path in flat:
        module, _, leaf = path.rpartition("/")
        if leaf not in LORA_LEAVES:
            raise InputError(f"adapters/{path} is no LoRA adapter of a kernel; it cannot be merged")
        if module + _KERNEL not in kernels:
            raise InputError(f"adapters/{path}: the model has no {module}{_KERNEL}")
        modules[module] = None
    return list(modules)


def adapted_of(flat: Mapping[str, Any], module: str) -> dict[str, Any]:
    """The leaves of one module, by name."""
    return {leaf: flat[f"{module}/{leaf}"] for leaf in LORA_LEAVES if f"{module}/{leaf}" in flat}


def _over_inputs(scale: jax.Array, kernel: jax.Array) -> jax.Array:
    """[*outputs] -> as many axes as the kernel has, those of the inputs of size 1."""
    return jnp.expand_dims(scale, tuple(range(kernel.ndim - scale.ndim)))
