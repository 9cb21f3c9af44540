"""Sentence encoders as sentence-transformers keeps them: which modules a directory has, read strictly.

modules.json lists them: a transformer, how its states are pooled, then dense layers and norms. A module of another type
is refused by name: passed over, it would give other vectors without a word.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json, read_object
from t5x_lite.foreign.names import inside
from t5x_lite.interop.finite import READ, checked
from t5x_lite.interop.weight_files import open_weights

FILE = "modules.json"
# What of a text's states makes its vector, in the order in which several are put side by side.
POOLINGS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")
ACTIVATIONS = ("Identity", "Tanh", "ReLU")
_PACKAGE = "sentence_transformers."
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
# Where the settings of the transformer lie, newest first.
_SETTINGS = tuple(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert"))


@dataclasses.dataclass(frozen=True)
class Projection:
    """A dense layer on a vector: kernel float32 [in, out], bias float32 [out] or None, one of ACTIVATIONS."""

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: str


@dataclasses.dataclass(frozen=True)
class SentenceModules:
    """What makes a vector of a text.

    transformer: the directory of the encoder and its tokenizer.
    max_length: the most tokens of a text; 0: as the encoder has it.
    lower: whether texts are put in lower case.
    poolings: some of POOLINGS.
    last: what follows: dense layers, and None for a vector that is brought to the length 1.
    """

    transformer: pathlib.Path
    max_length: int
    lower: bool
    poolings: tuple[str, ...]
    last: tuple[Projection | None, ...]

    def width(self, states: int) -> int:
        """How many numbers a vector has, where a state has so many."""
        kernels = [each.kernel for each in self.last if each is not None]
        return kernels[-1].shape[1] if kernels else states * len(self.poolings)


def read_modules(directory: pathlib.Path) -> SentenceModules:
    """The modules of a directory, with the weights of its dense layers.

    Raises:
      InputError: no modules.json, a module of an unknown type or in another order, a pooling or an activation that is
        not read, or files that cannot be.
    """
    file = directory / FILE
    modules = [_module(entry, file) for entry in _entries(file)]
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & {*kinds[2:]}:
        raise InputError(
            f"{file}: the modules are {', '.join(kinds) or 'none'}; expected Transformer, Pooling, then Dense and"
            " Normalize"
        )
    transformer = inside(directory, modules[0][1], file) if modules[0][1] else directory
    last = [
        _projection(inside(directory, path, file)) if kind == "Dense" else None
        for kind, path in modules[2:]
    ]
    settings = _settings(transformer)
    longest, lower = settings.get("max_seq_length"), settings.get("do_lower_case")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise InputError(f"{transformer}: max_seq_length is {longest!r}; expected tokens, or null")
    return SentenceModules(
        transformer,
        longest or 0,
        lower is True,
        _poolings(inside(directory, modules[1][1], file) / "config.json"),
        tuple(last),
    )


def _entries(file: pathlib.Path) -> list[Any]:
    try:
        entries = read_json(file)
    except OSError as error:
        raise InputError(
            f"{file}: cannot read it ({error.strerror or error}); a sentence encoder has one, as sentence-transformers"
            " writes it"
        ) from error
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(entries, list):
        raise InputError(f"{file}: expected a list of modules, found a {type(entries).__name__}")
    return entries


def _module(entry: Any, file: pathlib.Path) -> tuple[str, str]:
    """The kind of a module, and its folder."""
    fields = entry if isinstance(entry, Mapping) else {}
    kind, path = fields.get("type"), fields.get("path")
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError(f"{file}: a module is {entry!r:.80}; expected one with a type and a path")
    name = kind.rpartition(".")[2]
    if not kind.startswith(_PACKAGE) or name not in _MODULES:
        raise InputError(
            f"{file}: the module type {kind!r:.120} is not read; those that are: {', '.join(_MODULES)} of"
            " sentence_transformers"
        )
    return name, path


def _settings(transformer: pathlib.Path) -> dict[str, Any]:
    for name in _SETTINGS:
        if (transformer / name).is_file():
            return read_object(transformer / name)
    return {}


def _poolings(file: pathlib.Path) -> tuple[str, ...]:
    fields = read_object(file)
    named = fields.get("pooling_mode")
    if named is None:
        prefix = "pooling_mode_"
        chosen = [
            key.removeprefix(prefix) for key, on in fields.items() if key.startswith(prefix) and on
        ]
    else:
        # As newer versions write it: a name, or several.
        names = named if isinstance(named, list) else [named]
        older = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}
        chosen = [older.get(str(name), str(name)) for name in names]
    unknown = [name for name in chosen if name not in POOLINGS]
    if unknown or not chosen:
        raise InputError(
            f"{file}: the pooling {unknown[0] if unknown else 'none'!r:.80} is not read; those that are:"
            f" {', '.join(POOLINGS)}"
        )
    return tuple(name for name in POOLINGS if name in chosen)


def _projection(folder: pathlib.Path) -> Projection:
    fields = read_object(folder / "config.json")
    activation = str(fields.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise InputError(
            f"{folder / 'config.json'}: activation_function is {fields['activation_function']!r:.120}; those that are"
            f" read: {', '.join(ACTIVATIONS)} of torch"
        )
    tensors = open_weights(folder)
    names = ["linear.weight"] + ["linear.bias"] * (fields.get("bias") is not False)
    shape = (fields.get("out_features"), fields.get("in_features"))
    arrays = []
    for name, wanted in zip(names, (shape, shape[:1]), strict=False):
        if name not in tensors or tensors[name].shape != wanted:
            found = tensors[name].shape if name in tensors else "none"
            raise InputError(f"{folder}: {name} is {found}; its config.json says {wanted}")
        array = checked(tensors[name].read(), f"{folder}: {name}", READ)
        arrays.append(array.astype(np.float32))
    if unread := sorted(tensors.keys() - {*names}):
        raise InputError(f"{folder}: has {unread[0]}, which its config.json does not say")
    return Projection(
        np.ascontiguousarray(arrays[0].T), arrays[1] if len(arrays) > 1 else None, activation
    )


def check_widths(modules: SentenceModules, states: int, directory: pathlib.Path) -> None:
    """Sees that each dense layer takes what comes before it.

    Raises:
      InputError: one does not.
    """
    width = states * len(modules.poolings)
    for layer in modules.last:
        if layer is None:
            continue
        if layer.kernel.shape[0] != width:
            raise InputError(
                f"{directory}: a dense layer takes vectors of {layer.kernel.shape[0]} numbers, and gets {width}"
            )
        width = layer.kernel.shape[1]
