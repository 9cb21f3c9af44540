"""Several LoRA adapters of one base in one batch: their ranks side by side, and which of them act in which row.

Gathering each row's matrices would copy all of them for every token. Here the low-rank products of all adapters are
one product, and those that are not the row's are multiplied by zero: what a row gives is what its adapter alone gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import traverse_util

from t5x_lite.params.lora import LORA_LEAVES, adapted_of, split_axes, with_output_scales
from t5x_lite.params.paths import Params, flatten

# Beside "lora_a" [*inputs, ranks] and "lora_b" [ranks, *outputs] of all adapters: whose each rank is, int32 [ranks];
# and of DoRA, float32 [adapters, *outputs].
_RANKS, _SCALES = "ranks_of_adapters", "scales_of_adapters"


def side_by_side(params: Params, trees: Sequence[Params]) -> Params:
    """LoRA adapters (also rsLoRA, DoRA; of any ranks and modules) as one tree, for `of_rows`.

    Args:
      params: what they adapt, canonical and unrolled. trees: unrolled. An empty one is the base alone.
    """
    flats = [flatten(with_output_scales(params, tree)) if tree else {} for tree in trees]
    modules = dict.fromkeys(path.rpartition("/")[0] for flat in flats for path in flat)
    kernels = flatten(params)
    result: dict[str, jax.Array] = {}
    for module in modules:
        inputs, outputs = split_axes(module, kernels[f"{module}/kernel"].shape)
        of_module = [adapted_of(flat, module) for flat in flats]
        empty = {
            "lora_a": jnp.zeros((*inputs, 0)),
            "lora_b": jnp.zeros((0, *outputs)),
            "lora_scaling": jnp.float32(1),
        }
        whole = [adapted or empty for adapted in of_module]
        ranks = [adapted["lora_b"].shape[0] for adapted in whole]
        result[f"{module}/lora_a"] = jnp.concatenate([x["lora_a"] for x in whole], axis=-1)
        result[f"{module}/lora_b"] = jnp.concatenate(
            [x["lora_b"] * x["lora_scaling"] for x in whole], axis=0
        )
        owners = itertools.chain(*([number] * rank for number, rank in enumerate(ranks)))
        result[f"{module}/{_RANKS}"] = jnp.array(list(owners), jnp.int32)
        if any("lora_output_scale" in adapted for adapted in of_module):
            one = jnp.ones(outputs)
            result[f"{module}/{_SCALES}"] = jnp.stack(
                [adapted.get("lora_output_scale", one) for adapted in of_module]
            )
    return traverse_util.unflatten_dict(result, sep="/")


def of_rows(adapters: Params, numbers: jax.Array) -> Params:
    """The adapters collection of a batch. adapters: of `side_by_side`; numbers: int32 [rows], which acts in a row."""
    result: dict[str, jax.Array] = {}
    for path, leaf in flatten(adapters).items():
        module, _, name = path.rpartition("/")
        if name in LORA_LEAVES:
            result[path] = leaf
        elif name == _RANKS:
            result[f"{module}/lora_rows"] = (leaf[None] == numbers[:, None]).astype(jnp.float32)
            result[f"{module}/lora_scaling"] = jnp.float32(1)
        elif name == _SCALES:
            result[f"{module}/lora_output_scale"] = leaf[numbers]
    return traverse_util.unflatten_dict(result, sep="/")
