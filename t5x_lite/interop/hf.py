"""Models in Hugging Face's directory format: loaded tensor by tensor into their shards, and saved again."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import traverse_util

from t5x_lite.console import progress
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.foreign.hashes import check_hashes, write_hashes
from t5x_lite.interop import hf_config
from t5x_lite.interop.finite import WRITTEN, checked
from t5x_lite.interop.hub import ADAPTER_CONFIG, model_directory
from t5x_lite.interop.names import EMBEDDING_COPIES, HEAD, SHARED, UNUSED, Entry, name_table
from t5x_lite.interop.opened import OpenedModel, Params, Stored, converted, differences
from t5x_lite.interop.tensors import (
    DTYPES,
    Tensor,
    into_shards,
    total_bytes,
    write_safetensors,
)
from t5x_lite.interop.weight_files import FORMATS, open_weights
from t5x_lite.interop.wrapped_names import IN_FRONT_OF_A_T5, pass_over, unwrapped
from t5x_lite.models.config import T5Config
from t5x_lite.params.gather import whole
from t5x_lite.params.integers import is_quantized

DEFAULT_SHARD_BYTES = 5 * 10**9  # as transformers 4 and 5 write
_STAGING = ".partial-export"
# Beside a tokenizer that was saved anew, what older versions said of another one still counts for its readers.
_OLDER_TOKENS = ("special_tokens_map.json", "added_tokens.json")
_ENCODER = ("token_embedder/", "encoder/")


class _Saves(Protocol):
    def save(self, directory: str | os.PathLike[str]) -> None: ...


def open_hf(source: str | os.PathLike[str], revision: str | None = None) -> OpenedModel:
    """Opens a model of the T5 family in Hugging Face's format and checks its files, without reading the weights.

    Args:
      source: a local directory, or a hub id with or without "@revision".
      revision: a branch, tag or commit on the hub.

    Raises:
      InputError: the model cannot be found or read, is no T5, or its tensors are not those of its config: then the
        message lists what is only in the model and what is only in the checkpoint.
    """
    directory = model_directory(source, revision)
    config, tensors = _described(directory)
    if not any(name.startswith("decoder.") for name in tensors):
        named = hf_config.architectures(hf_config.read_config(directory))
        classes = ", ".join(named) or "no class named"
        raise InputError(
            f"{directory}: the file has no decoder ({classes}), so it cannot write; an encoder serves as a classifier"
            " or reward model (configs/classifier.py, configs/reward.py, with this as model.source)"
        )
    return _opened(directory, config, name_table(config), tensors, "a T5")


def open_encoder(source: str | os.PathLike[str], revision: str | None = None) -> OpenedModel:
    """The encoder of a model of the T5 family, from a file of the whole model, of an encoder or of another task.

    Args and errors: as `open_hf`.

    Returns:
      The architecture as config.json has it; only `token_embedder` and `encoder` can be read.
    """
    directory = model_directory(source, revision)
    config, tensors = _described(directory)
    table = tuple(entry for entry in name_table(config) if entry.path.startswith(_ENCODER))
    # That the decoder is left goes without saying.
    tensors = {n: t for n, t in tensors.items() if not n.startswith("decoder.") and n != HEAD}
    return _opened(directory, config, table, tensors, "an encoder")


def _described(directory: pathlib.Path) -> tuple[T5Config, dict[str, Tensor]]:
    """The architecture, and the tensors under the names that a T5 gives them."""
    fields = hf_config.read_config(directory)
    check_hashes(directory)
    tensors = unwrapped(open_weights(directory), directory, IN_FRONT_OF_A_T5)
    tensors = _without_copies(directory, tensors)
    config = hf_config.config_from_hf(
        fields,
        separate_head=_has_separate_head(fields, tensors),
        where=str(directory / "config.json"),
    )
    if config.tie_word_embeddings:
        tensors.pop(HEAD, None)
    return config, tensors


def _opened(
    directory: pathlib.Path,
    config: T5Config,
    table: tuple[Entry, ...],
    tensors: Mapping[str, Tensor],
    model: str,
) -> OpenedModel:
    """The tensors of the table, when all are there and of the right shapes; others are passed over by name."""
    want = {entry.hf_name: entry.hf_shape for entry in table}
    have = {name: tensor.shape for name, tensor in tensors.items()}
    fits = all(have.get(name) == shape and not tensors[name].fault for name, shape in want.items())
    if not fits:
        hf_config.refuse_quantized(directory)
    if any(have.get(name) != shape for name, shape in want.items()):
        raise InputError(f"{directory}: {differences(want, have, 'the checkpoint')}")
    kept = pass_over(tensors, want, directory, model)
    return OpenedModel(
        config, directory, {entry.path: _stored(entry, kept[entry.hf_name]) for entry in table}
    )


def load_hf(
    source: str | os.PathLike[str],
    revision: str | None = None,
    *,
    param_dtype: str | None,
    shardings: Callable[[T5Config], Params] | None = None,
) -> tuple[T5Config, Params]:
    """Loads a T5 in Hugging Face's format: `open_hf`, then `OpenedModel.read`, which say what may be wrong.

    Args:
      source: a local directory, or a hub id with or without "@revision".
      revision: a branch, tag or commit on the hub.
      param_dtype: "float32", "bfloat16" or "float16"; None keeps the type of each tensor in the file.
      shardings: given the architecture, a tree like the parameters with a `jax.sharding.Sharding` a leaf; None puts
        all on the default device.

    Returns:
      The architecture, and the canonical unrolled parameter tree (nested dicts of jax arrays).
    """
    opened = open_hf(source, revision)
    return opened.config, opened.read(param_dtype, shardings and shardings(opened.config))


def save_hf(
    directory: str | os.PathLike[str],
    config: T5Config,
    params: Params,
    vocabulary: _Saves | None = None,
    dtype: str | None = None,
    max_shard_size: int = DEFAULT_SHARD_BYTES,
    generation: Mapping[str, Any] | None = None,
) -> None:
    """Saves a T5 as a directory that transformers 4 and 5 load: safetensors, config.json, generation_config.json.

    Everything is written under a temporary name first; the files then take their places, config.json last, so a
    directory that has one is whole. Weights that an earlier export left there are replaced; other files stay.
    With several processes, all must call this; process 0 writes.

    Args:
      directory: a local directory, made if need be.
      config: the architecture.
      params: the canonical unrolled parameter tree, sharded or not.
      vocabulary: saved along, when given (its `save` method is handed the directory).
      dtype: "float32", "bfloat16" or "float16"; None keeps the type of each parameter.
      max_shard_size: bytes of tensor data a file; above it there are several files and an index.
      generation: the fields of the generation_config.json that the model came with; kept, the special tokens filled in.

    Raises:
      InputError: the parameters are not those of the config, or not finite, or the directory cannot be written, or has
        an adapter in it.
    """
    target = pathlib.Path(directory).expanduser()
    if "://" in os.fspath(directory):
        raise InputError(f"{directory}: the export goes to a local directory; copy it from there")
    if (target / ADAPTER_CONFIG).is_file():
        raise InputError(
            f"{target}: an adapter lies there, which whoever loads the directory would put on; choose another one"
        )
    flat = traverse_util.flatten_dict(params, sep="/")
    table = name_table(config)
    have = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    want = {entry.path: entry.shape for entry in table}
    if have != want:
        raise InputError(f"save_hf: {differences(want, have, 'the parameters given')}")
    tensors = {entry.hf_name: _to_tensor(entry, flat[entry.path], dtype) for entry in table}
    if jax.process_index() != 0:
        for tensor in tensors.values():
            tensor.read()  # takes part in the gathering of shards, in the order in which process 0 writes
        return
    try:
        fields = hf_config.generation_config_to_hf(config) | dict(generation or {})
        _write(target, config, fields, tensors, vocabulary, max_shard_size)
    except InputError:
        shutil.rmtree(target / _STAGING, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(target / _STAGING, ignore_errors=True)
        raise InputError(
            f"{target}: cannot write the export ({error.strerror or error}); free space or choose another place"
        ) from error


def _stored(entry: Entry, tensor: Tensor) -> Stored:
    return Stored(
        entry.hf_name,
        Tensor(entry.shape, tensor.dtype, lambda: entry.to_canonical(tensor.read())),
    )


def _without_copies(directory: pathlib.Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Brings the token embedding under its one name, and leaves out what no implementation reads."""
    kept = {name: tensor for name, tensor in tensors.items() if name not in UNUSED}
    for copy in EMBEDDING_COPIES:
        if copy not in kept:
            continue
        tensor = kept.pop(copy)
        if not _equal(kept.setdefault(SHARED, tensor), tensor):
            raise InputError(
                f"{directory}: {copy} differs from {SHARED}; T5 has one token embedding for both stacks"
            )
    return kept


def _has_separate_head(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Whether the output projection is a parameter of its own: the weights decide, for configs lie (see hf_config)."""
    if HEAD not in tensors:
        return False
    return (
        not hf_config.says_tied(fields)
        or SHARED not in tensors
        or not _equal(tensors[HEAD], tensors[SHARED])
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return one.read().tobytes() == other.read().tobytes()


def _to_tensor(entry: Entry, parameter: Any, dtype: str | None) -> Tensor:
    stored = "float32" if is_quantized(parameter) else parameter.dtype.name

    def read() -> np.ndarray:
        # Of integers, what they stand for.
        weight = parameter.astype(stored) if is_quantized(parameter) else parameter
        array = converted(entry.to_hf(whole(weight)), dtype, entry.path)
        return checked(array, f"save_hf: {entry.path}", WRITTEN)

    return Tensor(entry.hf_shape, DTYPES[dtype or stored], read)


def _write(
    target: pathlib.Path,
    config: T5Config,
    generation: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    vocabulary: _Saves | None,
    max_shard_size: int,
) -> None:
    staging = target / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    safetensors = FORMATS[0]
    shards = into_shards(tensors, max_shard_size)
    with progress(len(tensors), f"saving {target.name}", "tensor") as bar:
        for number, shard in enumerate(shards, start=1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            write_safetensors(staging / (name if len(shards) > 1 else safetensors.name), shard)
            bar.update(len(shard))
    if len(shards) > 1:
        weight_map = {
            tensor: f"model-{number:05}-of-{len(shards):05}.safetensors"
            for number, shard in enumerate(shards, start=1)
            for tensor in shard
        }
        size = {"total_size": total_bytes(tensors.values())}
        _write_json(staging / safetensors.index_name, {"metadata": size, "weight_map": weight_map})
    if vocabulary is not None:
        vocabulary.save(staging)
    dtype = tensors[SHARED].dtype.name
    _write_json(staging / "generation_config.json", generation)
    _write_json(staging / "config.json", hf_config.config_to_hf(config, dtype))
    write_hashes(staging, [file.name for file in staging.iterdir() if file.is_file()])

    (target / "config.json").unlink(
        missing_ok=True
    )  # from here to the end, the directory is no model
    for stale in (
        *target.glob(safetensors.shards),
        target / safetensors.name,
        target / safetensors.index_name,
        target / HASHES,
        *(target / name for name in (_OLDER_TOKENS if vocabulary is not None else ())),
    ):
        stale.unlink(missing_ok=True)
    for file in sorted(staging.iterdir(), key=lambda file: file.name == "config.json"):
        file.replace(target / file.name)
    staging.rmdir()


def _write_json(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
