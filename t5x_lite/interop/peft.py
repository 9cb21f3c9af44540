"""Adapters in peft's directory format, both ways: adapter_config.json and adapter_model.safetensors.

LoRA (rsLoRA, DoRA, ranks and alphas per target) and prompt tuning. peft does not say which weights an adapter was
trained on; we add their fingerprint to the header of the tensor file, where peft does not look, and refuse any other
base.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.foreign.hashes import check_hashes, write_hashes
from t5x_lite.foreign.json_files import read_json
from t5x_lite.interop import peft_config
from t5x_lite.interop.finite import WRITTEN, checked
from t5x_lite.interop.hub import ADAPTER_CONFIG as CONFIG_FILE
from t5x_lite.interop.hub import adapter_directory
from t5x_lite.interop.names import EMBEDDING_COPIES, HEAD, SHARED, Entry, name_table
from t5x_lite.interop.pretrained import open_pretrained
from t5x_lite.interop.subfolders import also_in
from t5x_lite.interop.tensors import (
    Tensor,
    open_safetensors,
    safetensors_metadata,
    write_safetensors,
)
from t5x_lite.interop.torch_bin import open_torch_bin
from t5x_lite.interop.wrapped_names import bare_name, shown
from t5x_lite.models.config import T5Config
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.gather import whole
from t5x_lite.params.integers import is_quantized
from t5x_lite.params.lora import LoraSettings, adapted_modules, adapted_of, split_axes
from t5x_lite.params.paths import Params, flatten
from t5x_lite.params.soft_prompts import SOFT_PROMPT

TENSORS_FILE = "adapter_model.safetensors"
_OLD_TENSORS_FILE = "adapter_model.bin"
_PREFIX = "base_model.model."
_PROMPT = "prompt_embeddings"
_MAGNITUDE = ".lora_magnitude_vector"  # peft before 0.12: with ".weight"
_LEAF = re.compile(
    r"(?P<module>.*)\.(?:lora_(?P<factor>[AB])(?:\.\w+)?\.weight|lora_magnitude_vector(?:\.\w+)?(?:\.weight)?)"
)
_BASE_COPY = ".base_layer.weight"  # peft saves the base's lm_head along where that has an adapter
_BASE = "t5x_lite_base_fingerprint"


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
      InputError: an adapter that is not finite, or the directory cannot be written.
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
    for name, array in tensors.items():
        checked(array, f"save_adapter: {name}", WRITTEN)
    # peft takes the revision of a hub id in a field of its own.
    name, _, revision = (
        (base_name, "", "") if os.path.isdir(base_name) else base_name.partition("@")
    )
    fields |= {"base_model_name_or_path": name or None, "revision": revision or None}
    base = _fingerprint(params, base_name)
    if jax.process_index() != 0:
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        fresh = target / f"{TENSORS_FILE}.new"
        write_safetensors(
            fresh, {name: _tensor(array) for name, array in tensors.items()}, {_BASE: base}
        )
        for stale in (CONFIG_FILE, HASHES):
            (target / stale).unlink(missing_ok=True)
        fresh.replace(target / TENSORS_FILE)
        fresh = target / f"{CONFIG_FILE}.new"
        fresh.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        fresh.replace(target / CONFIG_FILE)
        write_hashes(target, (TENSORS_FILE, CONFIG_FILE))
    except OSError as error:
        raise InputError(
            f"{target}: cannot write the adapter ({error.strerror or error}); free space or choose another place"
        ) from error


def load_adapter(
    directory: str | os.PathLike[str],
    config: T5Config,
    params: Params | None,
    base: str | os.PathLike[str] = "",
) -> Adapter:
    """Reads an adapter that peft or `save_adapter` wrote, as float32 arrays of numpy.

    Args:
      directory: of the adapter, the workdir of the run that trained it, or a hub id.
      config: the architecture of the base.
      params: the base, canonical: what the adapter's fingerprint is compared with, where it has one. None does not
        compare (the caller does it later, with `check_base`).
      base: where the base was read, if known; see `check_base`.

    Raises:
      InputError: there is no adapter, it is of a kind that is not read, its tensors are not those of its config or of
        this architecture, or it was trained on another base.
    """
    source = adapter_directory(directory)
    fields = read_config(source)
    check_hashes(source)
    tensors = _open(source)
    if fields["peft_type"] == peft_config.PROMPT_TUNING:
        settings = peft_config.prompt_from_peft(fields)
        adapter = Adapter(settings, _prompt_from_peft(tensors, settings.length, config, source))
    else:
        adapter = _lora_from_peft(tensors, fields, config, source)
    if params is not None:
        check_base(source, params, base)
    return adapter


def base_of(directory: pathlib.Path) -> str:
    """What an adapter says its base is, a hub id with its "@revision"; "" where it says nothing."""
    fields = read_config(directory)
    name, revision = fields.get("base_model_name_or_path"), fields.get("revision")
    return f"{name}@{revision}" if name and revision and "@" not in name else str(name or "")


def read_config(source: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of adapter_config.json, of a directory, a workdir or a hub id.

    Raises:
      InputError: there is none, it is no JSON, or of an adapter that is not read.
    """
    directory = adapter_directory(source)
    file = directory / CONFIG_FILE
    try:
        fields = read_json(file)
    except OSError as error:
        raise InputError(
            f"{directory}: no adapter there ({CONFIG_FILE}: {error.strerror or error})"
            + also_in(directory, CONFIG_FILE)
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error})") from error
    peft_config.check(fields, file)
    return fields


def check_base(
    directory: str | os.PathLike[str], params: Params, base: str | os.PathLike[str] = ""
) -> None:
    """Sees that an adapter was trained on these parameters; one that does not say on which passes.

    Weights that were read as float16 are not those that the adapter saw read as float32, and the same base: then what
    the files of `base` hold is compared.

    Raises:
      InputError: it was trained on others; the message names the base it wants.
    """
    source = adapter_directory(directory)
    file = source / TENSORS_FILE
    wanted = safetensors_metadata(file).get(_BASE) if file.is_file() else None
    if wanted is None or wanted == (found := _fingerprint(params, base)):
        return
    if base and wanted in _file_fingerprints(base, params, found):
        return
    name = base_of(source) or "a base without a name"
    raise InputError(
        f"{source}: this adapter was trained on other weights ({name}, fingerprint {wanted[:12]}) than the model it is"
        f" to be put on (fingerprint {found[:12]}); load the base it was trained on"
    )


def _fingerprint(params: Params, base: str | os.PathLike[str]) -> str:
    """Of a base; of one that was loaded in integers: of the floats in its files, where they are known.

    So an adapter fits its base, whether that was or is loaded in integers or not.
    """
    if base and any(map(is_quantized, flatten(params).values())):
        return open_pretrained(base).fingerprint("float32")
    return fingerprint(params, rounded=True)


def _file_fingerprints(base: str | os.PathLike[str], params: Params, found: str) -> tuple[str, ...]:
    """Of what the base's files hold: as it is there, and as float16. () where `params` are not what is there."""
    types = {str(leaf.dtype) for leaf in flatten(params).values()}
    opened = open_pretrained(base)
    if len(types) > 1 or opened.fingerprint(types.pop()) != found:
        return ()
    return opened.fingerprint("float32"), opened.fingerprint("float16")


def _open(source: pathlib.Path) -> dict[str, Tensor]:
    if (source / TENSORS_FILE).is_file():
        return open_safetensors(source / TENSORS_FILE)
    if (source / _OLD_TENSORS_FILE).is_file():
        return open_torch_bin(source / _OLD_TENSORS_FILE)
    raise InputError(f"{source}: no weights; expected {TENSORS_FILE} or {_OLD_TENSORS_FILE}")


def _tensor(array: np.ndarray) -> Tensor:
    array = np.ascontiguousarray(array)
    return Tensor(array.shape, array.dtype, lambda: array)


def _values(tensor: Tensor, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = tensor.read().astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            f"{where} holds values that are not finite; take another save of the adapter"
        )
    return array


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
            tensors[f"{_PREFIX}{name}{_MAGNITUDE}"] = adapted["lora_magnitude"].reshape(-1)
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
        parts.setdefault(module, {})[leaf] = _values(tensor, f"{source}: {name}")
    if unknown:
        kind = "an embedding of its own (a resized vocabulary?)" if _has_embedding(unknown) else ""
        raise InputError(
            f"{source}: holds tensors that this model has no place for{kind and f', {kind}'}: {shown(unknown)};"
            f" {peft_config.way_out(source, fields.get('task_type'))}"
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
        peft_config.check_rank(fields, module, rank, source)
        ranks[path] = rank
        flat[f"{path}/lora_a"] = leaves["lora_a"].T.reshape(*inputs, rank)
        flat[f"{path}/lora_b"] = leaves["lora_b"].T.reshape(rank, *outputs)
        flat[f"{path}/lora_scaling"] = np.float32(peft_config.scaling(fields, module, rank))
        if dropout:
            flat[f"{path}/lora_dropout"] = np.float32(dropout)
        if "lora_magnitude" in leaves:
            flat[f"{path}/lora_magnitude"] = leaves["lora_magnitude"].reshape(outputs)
    peft_config.check_targets(fields, parts, entries, source)
    if not fields["use_dora"] and not any(leaves["lora_b"].any() for leaves in parts.values()):
        log.warning(
            "%s: all of its lora_B are zero, so it changes nothing: was it saved before it was trained?",
            source,
        )
    settings = peft_config.lora_from_peft(
        fields, ranks, [entry.path.removesuffix("/kernel") for entry in entries.values()]
    )
    return Adapter(settings, traverse_util.unflatten_dict(flat, sep="/"))


def _split_name(name: str) -> tuple[str, str | None]:
    """A tensor's name in peft's file -> the module's, and the name of our leaf; None where it is none of ours.

    A state dict that was saved as it is has the adapter's name in it: lora_A.default.weight.
    """
    name = bare_name(name)
    found = _LEAF.fullmatch(name)
    if found is None:
        return name, None
    module, a_or_b = found["module"], found["factor"]
    return module, f"lora_{a_or_b.lower()}" if a_or_b else "lora_magnitude"


def _has_embedding(names: Collection[str]) -> bool:
    return any(_split_name(name)[0] in (SHARED, HEAD, *EMBEDDING_COPIES) for name in names)


def _check_leaves(leaves: Mapping[str, np.ndarray], dora: bool, entry: Entry, where: str) -> int:
    """The rank of a module's adapter, when its tensors are all there and of the right shapes."""
    wanted = {"lora_a", "lora_b"} | ({"lora_magnitude"} if dora else set())
    if set(leaves) != wanted:
        raise InputError(f"{where}: has {sorted(leaves)}, expected {sorted(wanted)}")
    outputs, inputs = entry.hf_shape
    rank = leaves["lora_a"].shape[0] if leaves["lora_a"].ndim else 0
    if not rank:
        raise InputError(f"{where}: an adapter of rank 0 adapts nothing; train it again")
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
    rows = _values(tensors[_PROMPT], f"{source}: {_PROMPT}")
    if rows.ndim != 2 or rows.shape[0] < length or rows.shape[1] != config.d_model:
        raise InputError(
            f"{source}: {_PROMPT} has the shape {rows.shape}, expected ({length}, {config.d_model})"
        )
    return {SOFT_PROMPT: rows[:length]}
