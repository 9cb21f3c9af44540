"""Adapters in peft's directory format, both ways: adapter_config.json and adapter_model.safetensors.

LoRA (rsLoRA, DoRA, ranks and alphas per target) and prompt tuning. peft does not say which weights an adapter was
trained on; we add their fingerprint to the header of the tensor file, where peft does not look, and refuse any other
base.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from t5x_lite.errors import InputError
from t5x_lite.interop import peft_config
from t5x_lite.interop.names import Entry, name_table
from t5x_lite.interop.tensors import (
    Tensor,
    open_safetensors,
    safetensors_metadata,
    write_safetensors,
)
from t5x_lite.interop.torch_bin import open_torch_bin
from t5x_lite.models.config import T5Config
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.gather import whole
from t5x_lite.params.lora import LoraSettings, adapted_modules, adapted_of, split_axes
from t5x_lite.params.paths import Params, flatten
from t5x_lite.params.soft_prompts import SOFT_PROMPT

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"
_OLD_TENSORS_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_PROMPT = "prompt_embeddings"
_MAGNITUDES = (
    ".lora_magnitude_vector",
    ".lora_magnitude_vector.weight",
)  # peft from 0.12 on, before
_BASE_COPY = ".base_layer.weight"  # peft saves the base's lm_head along where that has an adapter
_BASE = "t5x_lite_base_fingerprint"
_NAMES_SHOWN = 4


def is_adapter(directory: str | os.PathLike[str]) -> bool:
    """Whether a saved adapter lies there."""
    return (pathlib.Path(directory).expanduser() / CONFIG_FILE).is_file()


def save_adapter(
    directory: str | os.PathLike[str],
    config: T5Config,
    params: Params,
    adapter: Adapter,
    base_name: str,
) -> None:
    """Writes an adapter as peft does. With several processes, all must call this; process 0 writes.

    The tensors take their place first and adapter_config.json last, so that a directory that has one is whole.

    Args:
      directory: a local directory, made if need be.
      config: the architecture of the base.
      params: the base itself, canonical; its fingerprint goes along.
      adapter: unrolled, sharded or not.
      base_name: where the base is to be had (a hub id or a directory); "" if nowhere.

    Raises:
      InputError: the directory cannot be written.
    """
    target = pathlib.Path(directory).expanduser()
    if "://" in os.fspath(directory):
        raise InputError(f"{directory}: the adapter goes to a local directory; copy it from there")
    tree = jax.tree.map(whole, adapter.tree)
    table = {entry.path: entry for entry in name_table(config)}
    if isinstance(adapter.settings, LoraSettings):
        tensors, fields = _lora_to_peft(table, tree, adapter.settings)
    else:
        tensors = {_PROMPT: tree[SOFT_PROMPT]}
        fields = peft_config.prompt_to_peft(adapter.settings, config)
    fields["base_model_name_or_path"] = base_name or None
    base = fingerprint(params, rounded=True)
    if jax.process_index() != 0:
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        fresh = target / f"{TENSORS_FILE}.new"
        write_safetensors(
            fresh, {name: _tensor(array) for name, array in tensors.items()}, {_BASE: base}
        )
        (target / CONFIG_FILE).unlink(missing_ok=True)
        fresh.replace(target / TENSORS_FILE)
        fresh = target / f"{CONFIG_FILE}.new"
        fresh.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        fresh.replace(target / CONFIG_FILE)
    except OSError as error:
        raise InputError(
            f"{target}: cannot write the adapter ({error.strerror or error}); free space or choose another place"
        ) from error


def load_adapter(
    directory: str | os.PathLike[str], config: T5Config, params: Params | None
) -> Adapter:
    """Reads an adapter that peft or `save_adapter` wrote, as float32 arrays of numpy.

    Args:
      config: the architecture of the base.
      params: the base, canonical: what the adapter's fingerprint is compared with, where it has one. None does not
        compare (the caller does it later, with `check_base`).

    Raises:
      InputError: there is no adapter, it is of a kind that is not read, its tensors are not those of its config or of
        this architecture, or it was trained on another base.
    """
    source = pathlib.Path(directory).expanduser()
    fields = read_config(source)
    tensors = _open(source)
    if fields["peft_type"] == peft_config.PROMPT_TUNING:
        settings = peft_config.prompt_from_peft(fields, source)
        adapter = Adapter(settings, _prompt_from_peft(tensors, settings.length, config, source))
    else:
        adapter = _lora_from_peft(tensors, fields, config, source)
    if params is not None:
        check_base(source, params)
    return adapter


def read_config(directory: pathlib.Path) -> dict[str, Any]:
    """The fields of adapter_config.json.

    Raises:
      InputError: there is none, it is no JSON, or of an adapter that is not read.
    """
    file = directory / CONFIG_FILE
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{directory}: no adapter there ({CONFIG_FILE}: {error.strerror or error})"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error})") from error
    peft_config.check(fields, file)
    return fields


def check_base(directory: str | os.PathLike[str], params: Params) -> None:
    """Sees that an adapter was trained on these parameters; one that does not say on which passes.

    Raises:
      InputError: it was trained on others; the message names the base it wants.
    """
    source = pathlib.Path(directory).expanduser()
    file = source / TENSORS_FILE
    wanted = safetensors_metadata(file).get(_BASE) if file.is_file() else None
    if wanted is None or wanted == (found := fingerprint(params, rounded=True)):
        return
    name = read_config(source).get("base_model_name_or_path") or "a base without a name"
    raise InputError(
        f"{source}: this adapter was trained on other weights ({name}, fingerprint {wanted[:12]}) than the model it is"
        f" to be put on (fingerprint {found[:12]}); load the base it was trained on"
    )


def _open(source: pathlib.Path) -> dict[str, Tensor]:
    if (source / TENSORS_FILE).is_file():
        return open_safetensors(source / TENSORS_FILE)
    if (source / _OLD_TENSORS_FILE).is_file():
        return open_torch_bin(source / _OLD_TENSORS_FILE)
    raise InputError(f"{source}: no weights; expected {TENSORS_FILE} or {_OLD_TENSORS_FILE}")


def _tensor(array: np.ndarray) -> Tensor:
    array = np.ascontiguousarray(array)
    return Tensor(array.shape, array.dtype, lambda: array)


def _module_name(entry: Entry) -> str:
    return entry.hf_name.removesuffix(".weight")


def _lora_to_peft(
    table: Mapping[str, Entry], tree: Params, settings: LoraSettings
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """peft stores both factors as torch's linear layers do, transposed, with heads and kv as one axis."""
    flat = flatten(tree)
    tensors: dict[str, np.ndarray] = {}
    found: dict[str, tuple[int, float]] = {}
    for module in adapted_modules(flat, table):
        adapted, name = adapted_of(flat, module), _module_name(table[f"{module}/kernel"])
        rank = adapted["lora_b"].shape[0]
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = adapted["lora_a"].reshape(-1, rank).T
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = adapted["lora_b"].reshape(rank, -1).T
        if "lora_magnitude" in adapted:
            tensors[f"{_PREFIX}{name}{_MAGNITUDES[0]}"] = adapted["lora_magnitude"].reshape(-1)
        found[name] = (rank, float(adapted["lora_scaling"]))
    names = [_module_name(entry) for entry in table.values() if entry.path.endswith("/kernel")]
    return tensors, peft_config.lora_to_peft(settings, found, names)


def _lora_from_peft(
    tensors: Mapping[str, Tensor], fields: Mapping[str, Any], config: T5Config, source: pathlib.Path
) -> Adapter:
    entries = {
        _module_name(entry): entry for entry in name_table(config) if entry.path.endswith("/kernel")
    }
    parts: dict[str, dict[str, np.ndarray]] = {}
    unknown = []
    for name, tensor in tensors.items():
        module, leaf = _split_name(name)
        if module.endswith(_BASE_COPY) and module.removesuffix(_BASE_COPY) in entries:
            continue
        if leaf is None or module not in entries:
            unknown.append(name)
            continue
        parts.setdefault(module, {})[leaf] = tensor.read().astype(np.float32)
    if unknown:
        more = f" and {len(unknown) - _NAMES_SHOWN} more" if len(unknown) > _NAMES_SHOWN else ""
        raise InputError(
            f"{source}: holds tensors that this model has no place for: {', '.join(unknown[:_NAMES_SHOWN])}{more}"
        )
    if not parts:
        raise InputError(f"{source}: its weights hold no adapter")
    dropout, ranks = float(fields["lora_dropout"]), {}
    flat: dict[str, Any] = {}
    for module, leaves in parts.items():
        path = entries[module].path.removesuffix("/kernel")
        inputs, outputs = split_axes(path, entries[module].shape)
        rank = _check_leaves(
            leaves, bool(fields["use_dora"]), entries[module], f"{source}: {module}"
        )
        ranks[path] = rank
        flat[f"{path}/lora_a"] = leaves["lora_a"].T.reshape(*inputs, rank)
        flat[f"{path}/lora_b"] = leaves["lora_b"].T.reshape(rank, *outputs)
        flat[f"{path}/lora_scaling"] = np.float32(peft_config.scaling(fields, module, rank))
        if dropout:
            flat[f"{path}/lora_dropout"] = np.float32(dropout)
        if "lora_magnitude" in leaves:
            flat[f"{path}/lora_magnitude"] = leaves["lora_magnitude"].reshape(outputs)
    settings = peft_config.lora_from_peft(
        fields, ranks, [entry.path.removesuffix("/kernel") for entry in entries.values()]
    )
    return Adapter(settings, traverse_util.unflatten_dict(flat, sep="/"))


def _split_name(name: str) -> tuple[str, str | None]:
    """A tensor's name in peft's file -> the module's, and the name of our leaf; None where it is none of ours."""
    name = name.removeprefix(_PREFIX)
    endings = {".lora_A.weight": "lora_a", ".lora_B.weight": "lora_b"}
    endings |= dict.fromkeys(_MAGNITUDES, "lora_magnitude")
    for ending, leaf in endings.items():
        if name.endswith(ending):
            return name.removesuffix(ending), leaf
    return name, None


def _check_leaves(leaves: Mapping[str, np.ndarray], dora: bool, entry: Entry, where: str) -> int:
    """The rank of a module's adapter, when its tensors are all there and of the right shapes."""
    wanted = {"lora_a", "lora_b"} | ({"lora_magnitude"} if dora else set())
    if set(leaves) != wanted:
        raise InputError(f"{where}: has {sorted(leaves)}, expected {sorted(wanted)}")
    outputs, inputs = entry.hf_shape
    rank = leaves["lora_a"].shape[0]
    shapes = {"lora_a": (rank, inputs), "lora_b": (outputs, rank), "lora_magnitude": (outputs,)}
    for leaf, array in leaves.items():
        if array.shape != shapes[leaf]:
            raise InputError(
                f"{where}: {leaf} has the shape {array.shape}, this model needs {shapes[leaf]}"
            )
    return rank


def _prompt_from_peft(
    tensors: Mapping[str, Tensor], length: int, config: T5Config, source: pathlib.Path
) -> Params:
    """peft makes as many rows for the decoder, and reads only the first `length`."""
    if set(tensors) != {_PROMPT}:
        raise InputError(f"{source}: expected the tensor {_PROMPT}, got {sorted(tensors)}")
    rows = tensors[_PROMPT].read().astype(np.float32)
    if rows.ndim != 2 or rows.shape[0] < length or rows.shape[1] != config.d_model:
        raise InputError(
            f"{source}: {_PROMPT} has the shape {rows.shape}, expected ({length}, {config.d_model})"
        )
    return {SOFT_PROMPT: rows[:length]}
