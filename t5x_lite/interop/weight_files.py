"""Finds the weight files of a model directory: which format, one file or shards."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import NamedTuple

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json
from t5x_lite.foreign.names import inside
from t5x_lite.interop.flax_msgpack import open_flax_msgpack
from t5x_lite.interop.tensors import Tensor, open_safetensors
from t5x_lite.interop.torch_bin import open_torch_bin


class Format(NamedTuple):
    """A file format: the name of a lone file, the pattern of its shards' names, and its reader."""

    name: str
    shards: str
    open: Callable[[pathlib.Path], dict[str, Tensor]]

    @property
    def index_name(self) -> str:
        """The file that says which shard holds which tensor."""
        return f"{self.name}.index.json"


# In the order in which transformers looks for them, so that where several lie together the same weights are read.
FORMATS = (
    Format("model.safetensors", "model-*-of-*.safetensors", open_safetensors),
    Format("pytorch_model.bin", "pytorch_model-*-of-*.bin", open_torch_bin),
    Format("flax_model.msgpack", "flax_model-*-of-*.msgpack", open_flax_msgpack),
)

_OTHER_WEIGHTS = (
    *(".safetensors", ".bin", ".h5", ".gguf", ".ggml", ".onnx", ".ckpt", ".pt", ".pth", ".ot"),
    *(".msgpack", ".tflite"),
)


def open_weights(directory: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of the weight file or files in `directory`, under PyTorch's names; nothing is read yet.

    Raises:
      InputError: there are no weight files, one is missing, or one is damaged.
    """
    there = [format for format in FORMATS if _lies_in(directory, format)]
    if len(there) > 1:
        log.info(
            "%s: %s is read, and %s left",
            directory,
            there[0].name,
            ", ".join(format.name for format in there[1:]),
        )
    for format in there[:1]:
        if (directory / format.name).is_file():
            return format.open(directory / format.name)
        return _open_shards(directory, format)
    names = ", ".join(format.name for format in FORMATS)
    raise InputError(
        f"{directory}: no weights; expected one of {names} (or its .index.json){_instead(directory)}"
    )


def _instead(directory: pathlib.Path) -> str:
    """What there is of weights that are not read, for a message; "" if nothing."""
    try:
        files = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError:
        return ""
    for format in FORMATS:
        shards = [name for name in files if pathlib.PurePath(name).match(format.shards)]
        if shards:
            return f"; {shards[0]} is a shard of several, which {format.index_name} would list: fetch that, too"
    others = [name for name in files if name.endswith(_OTHER_WEIGHTS)]
    if not others:
        return ""
    return (
        f"; {', '.join(others[:3])} cannot be read: fetch the model's safetensors, or write them by"
        " transformers' save_pretrained (a variant such as model.fp16.safetensors only wants that name)"
    )


def _lies_in(directory: pathlib.Path, format: Format) -> bool:
    return (directory / format.name).is_file() or (directory / format.index_name).is_file()


def _open_shards(directory: pathlib.Path, format: Format) -> dict[str, Tensor]:
    index = directory / format.index_name
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{index}: not an index of weight files ({type(error).__name__}: {error})"
        ) from error
    files = [inside(directory, name, index) for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    if missing:
        raise InputError(f"{directory}: {index.name} names files that are not there: {missing}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= format.open(file)
    return tensors
