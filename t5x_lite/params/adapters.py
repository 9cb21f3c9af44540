"""Adapters as trees beside the parameters, `{"params": ..., "adapters": ...}`: settings, layouts, sizes.

One base serves several adapters: each is a tree of its own, and which one acts is chosen with each call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from t5x_lite.errors import InputError
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.partition import ADAPTERS
from t5x_lite.params.paths import Params
from t5x_lite.params.sections import Lora, SoftPrompt
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.params.stacking import STACKS

AdapterSettings = LoraSettings | SoftPromptSettings


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter with what it was made by. tree: canonical, unrolled."""

    settings: AdapterSettings
    tree: Params


def settings_of(section: Any) -> AdapterSettings | None:
    """What the new adapter of an `adapter` section is made by; None where it asks for none, or for a saved one."""
    kinds: Mapping[type, type[AdapterSettings]] = {
        Lora: LoraSettings,
        SoftPrompt: SoftPromptSettings,
    }
    kind = kinds.get(type(section))
    return None if kind is None else kind(**vars(section))


def variables(params: Params, adapters: Params | None) -> dict[str, Params]:
    """What `model.apply` takes: the parameters, and the adapter that acts, if any."""
    return {"params": params, ADAPTERS: adapters} if adapters else {"params": params}


def stack_adapters(adapters: Params, layers: Mapping[str, int]) -> Params:
    """Unrolled -> stacked, as `stacking.stack` for parameters.

    layers: the number of layers of each stack.

    Raises:
      InputError: a layer that differs from its stack's others in what is adapted, or in a rank.
    """
    result = dict(adapters)
    for stack in STACKS:
        if not any(key.startswith("layers_") for key in adapters.get(stack, {})):
            continue
        rest = {k: v for k, v in adapters[stack].items() if not k.startswith("layers_")}
        of_layers = [adapters[stack].get(f"layers_{i}", {}) for i in range(layers[stack])]
        shapes = [jax.tree.map(lambda leaf: leaf.shape, layer) for layer in of_layers]
        if any(other != shapes[0] for other in shapes):
            raise InputError(
                f"adapter.targets: with model.scan_layers all layers of the {stack} need the same adapters; set"
                " model.scan_layers to False, or choose targets that do not tell layers apart"
            )
        result[stack] = rest | {"layers": jax.tree.map(lambda *xs: jnp.stack(xs), *of_layers)}
    return result


def unstack_adapters(adapters: Params) -> Params:
    """The inverse of `stack_adapters`; unrolled ones come back as they are."""
    result = dict(adapters)
    for stack in STACKS:
        if "layers" in adapters.get(stack, {}):
            rest = {k: v for k, v in adapters[stack].items() if k != "layers"}
            stacked = adapters[stack]["layers"]
            count = jax.tree.leaves(stacked)[0].shape[0]
            result[stack] = rest | {
                f"layers_{i}": jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)
            }
    return result
