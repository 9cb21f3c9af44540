"""t5x checkpoints in: the one msgpack file, or the directory with one zarr array a parameter; scanned or not.

t5x's parameter names are ours, but for the layers of a scanned stack, which lie stacked along one axis of each
parameter; attention kernels keep heads and kv in one axis. What a checkpoint does not say is assumed as t5x's published
models have it, and logged: GELU where the feed-forward layer is gated, else ReLU; a longest distance of 128; epsilon
1e-6; logits scaled by d_model**-0.5 where they come from the embedding.

Source: google-research/t5x, checkpoints.py (version 3), examples/t5/network.py and examples/scalable_t5/network.py.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.interop.flax_msgpack import array, is_array, read_tree
from t5x_lite.interop.names import name_table
from t5x_lite.interop.opened import OpenedModel, Stored, differences
from t5x_lite.interop.tensors import Tensor
from t5x_lite.interop.zarr_files import open_zarr
from t5x_lite.models.config import T5Config

INDEX = "checkpoint"  # the msgpack file of a checkpoint directory
_PARAMETERS = "optimizer/target/"
# The layers of a scanned stack: examples/scalable_t5's name for them, and flaxformer's.
_SCANNED = re.compile(r"^(encoder|decoder)/(?:layers|\1)/(.*)$")
_SCAN_AXIS = 1  # t5x's `param_scan_axis`
_BIAS_NAMES = re.compile(r"/relative_posemb/")  # examples/scalable_t5's name
_SHOWN = 4
# What the arrays do not tell.
_UNSAID = (
    *("feed_forward_proj", "relative_attention_max_distance", "layer_norm_epsilon", "dropout_rate"),
    *(
        "scale_decoder_outputs",
        "pad_token_id",
        "eos_token_id",
        "decoder_start_token_id",
        "model_type",
    ),
)


def is_t5x(source: str | os.PathLike[str]) -> bool:
    """Whether `source` is a t5x checkpoint: a file with "checkpoint" in its name, or a directory with the file
    `checkpoint`.
    """
    path = pathlib.Path(source).expanduser()
    return (path.is_file() and INDEX in path.name) or (path / INDEX).is_file()


def open_t5x(
    source: str | os.PathLike[str], architecture: Mapping[str, Any] | None = None
) -> OpenedModel:
    """Opens a t5x checkpoint (version 3, as t5x's trainer writes them) and checks it, without reading the weights.

    Every array is accounted for: parameters are loaded, and the log names what is left (the optimizer's state).

    Args:
      source: "model.checkpoint_1000", or the directory "checkpoint_1000".
      architecture: fields of `T5Config` in place of what is taken for granted ({"feed_forward_proj": "gated-silu"}).

    Raises:
      InputError: the files cannot be read, hold no t5x model, or hold other parameters than a T5 of their sizes has:
        then the message lists what is only in the model and what is only in the checkpoint.
    """
    path = pathlib.Path(source).expanduser()
    arrays = dict(_arrays(path))
    parameters = {
        name.removeprefix(_PARAMETERS): tensor
        for name, tensor in arrays.items()
        if name.startswith(_PARAMETERS)
    }
    if "token_embedder/embedding" not in parameters:
        found = ", ".join(sorted({"/".join(name.split("/")[:3]) for name in arrays})[:_SHOWN])
        raise InputError(
            f"{path}: no t5x model; expected {_PARAMETERS}token_embedder/embedding,"
            f" found {found or 'no arrays'}"
        )
    for tensor in parameters.values():
        if tensor.fault:
            raise InputError(tensor.fault)
    stored = _unscanned(parameters)
    config = _overridden(_config_of(path, stored), architecture or {}, path)
    wanted = {entry.path: entry.shape for entry in name_table(config)}
    have = {
        name: wanted.get(name, tensor.shape) if _fits(tensor, wanted.get(name)) else tensor.shape
        for name, (_, tensor) in stored.items()
    }
    if wanted != have:
        raise InputError(f"{path}: {differences(wanted, have, 'the checkpoint')}")
    _report(path, arrays, config)
    return OpenedModel(
        config,
        path,
        {
            name: Stored(file_name, _reshaped(tensor, wanted[name]))
            for name, (file_name, tensor) in stored.items()
        },
    )


def left_out(names: Mapping[str, Any]) -> dict[str, int]:
    """How many arrays under each second-level name are no parameters, of the arrays of a checkpoint by name.

    >>> left_out({"optimizer/target/a": 0, "optimizer/state/step": 0, "optimizer/state/param_states/a/v": 0})
    {'optimizer/state/step': 1, 'optimizer/state/param_states': 1}
    """
    counts: dict[str, int] = {}
    for name in names:
        if not name.startswith(_PARAMETERS):
            group = "/".join(name.split("/")[:3])
            counts[group] = counts.get(group, 0) + 1
    return counts


def _arrays(path: pathlib.Path) -> Iterator[tuple[str, Tensor]]:
    """Every array of the checkpoint, by its "/"-joined keys; those that are no floats without a reader."""
    file = path / INDEX if path.is_dir() else path
    tree = read_tree(file)
    if tree.get("version") != 3:
        raise InputError(
            f"{file}: no t5x checkpoint of version 3 (its version is {tree.get('version')!r})"
        )
    yield from _leaves(file, tree, ())


def _leaves(file: pathlib.Path, node: Any, where: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    name = "/".join(where)
    if isinstance(node, dict) and "kvstore" in node:  # tensorstore's description of a zarr array
        folder = pathlib.PurePosixPath(str(node["kvstore"].get("path", ""))).name
        if name.startswith(_PARAMETERS):
            yield name, open_zarr(file.parent / folder)
        else:
            yield name, _unread(name)
    elif is_array(node):
        # Counters of the optimizer are integers: named, never read.
        yield name, array(file, where, node) if name.startswith(_PARAMETERS) else _unread(name)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(file, value, (*where, key))


def _unread(name: str) -> Tensor:
    def read() -> np.ndarray:
        raise ValueError(f"{name} is no parameter")

    return Tensor((), np.dtype(np.float32), read)


def _unscanned(parameters: Mapping[str, Tensor]) -> dict[str, Stored]:
    """{canonical path: its place in the file and the tensor}, layers apart; still in t5x's shapes."""
    embed = parameters["token_embedder/embedding"].shape[1]
    stored = {}
    for name, tensor in parameters.items():
        ours = _BIAS_NAMES.sub("/relpos_bias/", name)
        scanned = _SCANNED.match(ours)
        if scanned is None:
            stored[ours] = Stored(name, tensor)
            continue
        stack, rest = scanned.groups()
        norm = parameters.get("/".join([*name.split("/")[:2], "pre_mlp_layer_norm", "scale"]))
        axis = _SCAN_AXIS if norm is None or norm.shape[0] == embed else 0
        # One reading serves all layers: they follow each other in the order of reading.
        read = functools.lru_cache(maxsize=1)(tensor.read)
        for layer in range(tensor.shape[axis]):
            stored[f"{stack}/layers_{layer}/{rest}"] = Stored(
                name, _slice(tensor, read, layer, axis)
            )
    return stored


def _slice(tensor: Tensor, read: Any, layer: int, axis: int) -> Tensor:
    shape = tensor.shape[:axis] + tensor.shape[axis + 1 :]
    return Tensor(shape, tensor.dtype, lambda: np.take(read(), layer, axis))


def _config_of(path: pathlib.Path, stored: Mapping[str, Stored]) -> T5Config:
    def shape(name: str) -> tuple[int, ...]:
        if name not in stored:
            raise InputError(f"{path}: no {name}, which tells the model's sizes")
        return stored[name].tensor.shape

    def layers(stack: str) -> int:
        return len({name.split("/")[1] for name in stored if name.startswith(f"{stack}/layers_")})

    vocab, embed = shape("token_embedder/embedding")
    own_bias = "encoder/layers_0/relpos_bias/rel_embedding"
    bias = own_bias if own_bias in stored else "encoder/relpos_bias/rel_embedding"
    heads, buckets = shape(bias)
    gated = "encoder/layers_0/mlp/wi_0/kernel" in stored
    tied = "decoder/logits_dense/kernel" not in stored
    return T5Config(
        vocab_size=vocab,
        d_model=embed,
        d_kv=int(np.prod(shape("encoder/layers_0/attention/query/kernel")[1:])) // heads,
        d_ff=shape("encoder/layers_0/mlp/wi_0/kernel" if gated else "encoder/layers_0/mlp/wi/kernel")[1],
        num_encoder_layers=layers("encoder"),
        num_decoder_layers=layers("decoder"),
        num_heads=heads,
        tie_word_embeddings=tied,
        scale_decoder_outputs=tied,
        feed_forward_proj="gated-gelu" if gated else "relu",
        relative_attention_num_buckets=buckets,
        model_type="umt5" if bias == own_bias else "t5",
    )  # fmt: skip


def _overridden(config: T5Config, fields: Mapping[str, Any], path: pathlib.Path) -> T5Config:
    """The architecture with what the user says of it, which must not gainsay the arrays."""
    for name, value in fields.items():
        if name not in _UNSAID:
            raise InputError(
                f"{path}: architecture: {name} is not to be set; a t5x checkpoint leaves open {', '.join(_UNSAID)}"
            )
        if name == "feed_forward_proj" and str(value).startswith("gated-") != config.is_gated:
            kind = "is gated" if config.is_gated else "is not gated"
            raise InputError(
                f"{path}: architecture: feed_forward_proj = {value!r}, but the checkpoint's feed-forward layer {kind}"
            )
    return dataclasses.replace(config, **fields)


def _fits(tensor: Tensor, shape: tuple[int, ...] | None) -> bool:
    """Whether `tensor` is of `shape` but for heads and kv, which t5x may keep in one axis."""
    if shape is None or np.prod(tensor.shape) != np.prod(shape):
        return False
    return tensor.shape == shape or (
        len(tensor.shape) == 2
        and len(shape) == 3
        and tensor.shape in ((shape[0], shape[1] * shape[2]), (shape[0] * shape[1], shape[2]))
    )


def _reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return Tensor(shape, tensor.dtype, lambda: tensor.read().reshape(shape))


def _report(path: pathlib.Path, arrays: Mapping[str, Tensor], config: T5Config) -> None:
    left = left_out(arrays)
    log.info(
        "%s: %d of %d arrays are parameters; left: %s; taken for granted: %s, longest distance %d,"
        " epsilon %g, dropout %g",
        path.name,
        len(arrays) - sum(left.values()),
        len(arrays),
        ", ".join(f"{name} ({count})" for name, count in left.items()) or "nothing",
        config.feed_forward_proj,
        config.relative_attention_max_distance,
        config.layer_norm_epsilon,
        config.dropout_rate,
    )
