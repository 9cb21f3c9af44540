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
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.params.stacking import STACKS

AdapterSettings = LoraSettings | SoftPromptSettings

NONE, LOAD = "none", "load"
_METHODS: Mapping[str, type] = {"lora": LoraSettings, "soft_prompt": SoftPromptSettings}


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter with what it was made by. tree: canonical, unrolled."""

    settings: AdapterSettings
    tree: Params


@dataclasses.dataclass(frozen=True)
class AdapterRequest:
    """What the `adapter` section asks for: a new adapter of `settings`, a saved one in the directory `source`, or,
    with neither, none.
    """

    settings: AdapterSettings | None
    source: str


def request_of(section: Mapping[str, Any], where: str) -> AdapterRequest:
    """Reads an `adapter` section.

    {"method": "none"}
    {"method": "lora", "targets": ((".*/(query|value)", 32),), "alpha": 32.0, "dropout": 0.05, "rslora": False,
     "dora": False}
    {"method": "soft_prompt", "length": 20, "init_from": "vocabulary"}
    {"method": "load", "source": "runs/lora/adapter"}

    Raises:
      InputError: an unknown method, a field it does not have or lacks, or a value that it cannot take.
    """
    fields = dict(section)
    method = fields.pop("method", None)
    classes = {name: [f.name for f in dataclasses.fields(cls)] for name, cls in _METHODS.items()}
    known = {NONE: [], LOAD: ["source"], **classes}
    if method not in known:
        raise InputError(f"{where}.method must be one of {', '.join(known)}, got {method!r}")
    for title, names in (
        ("has no field", sorted(set(fields) - set(known[method]))),
        ("needs the field", sorted(set(known[method]) - set(fields))),
    ):
        if names:
            raise InputError(
                f"{where}: method {method!r} {title} {', '.join(names)}; its fields are"
                f" {', '.join(known[method]) or 'none'}"
            )
    if method == NONE:
        return AdapterRequest(None, "")
    if method == LOAD:
        if not isinstance(fields["source"], str) or not fields["source"]:
            raise InputError(
                f"{where}.source must be the directory of a saved adapter, got {fields['source']!r}"
            )
        return AdapterRequest(None, fields["source"])
    if "targets" in fields:
        fields["targets"] = tuple(tuple(pair) for pair in fields["targets"])
    for name, kind in (
        ("alpha", (int, float)),
        ("dropout", (int, float)),
        ("rslora", bool),
        ("dora", bool),
    ):
        value = fields.get(name)
        if name in fields and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            expected = "True or False" if kind is bool else "a number"
            raise InputError(f"{where}.{name} must be {expected}, got {value!r}")
    return AdapterRequest(_METHODS[method](**fields), "")


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
