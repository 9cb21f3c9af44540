"""Classifiers in directories: Hugging Face's sequence classifiers in and out, and our T5s with a head.

A T5 (or its encoder alone) with a head has no counterpart in transformers; it is kept under our own names, as
`model.safetensors` beside a `config.json` whose model_type is "t5_scorer" (or "t5_encoder_classifier").
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from t5x_lite import streams
from t5x_lite.errors import InputError
from t5x_lite.interop import classifier_config
from t5x_lite.interop.classifier_names import classifier_name_table, is_unused
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.names import Entry
from t5x_lite.interop.tensors import DTYPES, Tensor, write_safetensors
from t5x_lite.interop.weight_files import open_weights
from t5x_lite.models.classifier_init import abstract_module, init_jitted, text_examples
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.params.gather import whole

Classifier = EncoderClassifier | T5Classifier | T5Scorer
Params = dict[str, Any]
T5_KIND, SCORER_KIND = "t5_encoder_classifier", "t5_scorer"


@dataclasses.dataclass(frozen=True)
class OpenedClassifier:
    """A classifier whose files fit its config, and whose weights have yet to be read."""

    module: Classifier
    directory: pathlib.Path
    new_head: bool  # whether the head (or its last layer) is not in the file, and drawn
    _table: tuple[Entry, ...]
    _tensors: Mapping[str, Tensor]

    def read(
        self, param_dtype: str = "float32", shardings: Params | None = None, seed: int = 0
    ) -> Params:
        """The parameter tree, tensor by tensor into its shards (None: the default device).

        seed: of a new head.
        """
        placed = traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
        drawn: dict[str, Any] = {}
        if self.new_head:
            fresh = init_jitted(self.module, streams.key(seed, "init"), *text_examples(self.module))
            drawn = traverse_util.flatten_dict(fresh, sep="/")
        params = {}
        for entry in self._table:
            if entry.hf_name in self._tensors:
                array = entry.to_canonical(self._tensors[entry.hf_name].read())
            else:
                array = np.asarray(drawn[entry.path])
            array = array.astype(DTYPES[param_dtype])
            sharding = placed.get(entry.path)
            params[entry.path] = (
                jax.device_put(array)
                if sharding is None
                else jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
            )
        return traverse_util.unflatten_dict(params, sep="/")


def open_classifier(
    source: str | os.PathLike[str],
    dtype: str = "float32",
    revision: str | None = None,
    *,
    labels: tuple[str, ...] | None = None,
) -> OpenedClassifier:
    """Opens a classifier and checks its files, without reading the weights.

    Args:
      source: a directory, the workdir of a run that left its model there, or a hub id with or without "@revision".
      dtype: compute type, "float32" or "bfloat16".
      labels: what it shall tell apart. Where its own labels are others, or the file has no head (roberta-base), the
        head is new; None takes the labels of the file.

    Raises:
      InputError: it cannot be found or read, is no classifier, or its tensors are not those of its config: then the
        message lists what is only in the model and what is only in the file.
    """
    directory = model_directory(source, revision)
    fields = _read_json(directory / "config.json")
    where = str(directory / "config.json")
    module: Classifier
    if fields.get("model_type") in (T5_KIND, SCORER_KIND):
        try:
            config, names = T5Config(**fields["t5"]), tuple(fields["labels"])
            execution = Execution(dtype=dtype)
            if fields["model_type"] == T5_KIND:
                module = T5Classifier(config, names, execution)
            else:
                module = T5Scorer(config, execution, names, fields["likelihood"])
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: not a classifier of ours ({error})") from error
    else:
        encoder = classifier_config.encoder_config_from_hf(fields, where)
        module = EncoderClassifier(encoder, dtype)
    tensors = {n: t for n, t in open_weights(directory).items() if not is_unused(n)}
    others = labels is not None and module.labels != labels
    if labels is not None and others:
        module = _with_labels(module, labels)
    table = name_table_of(module)
    new_head = False
    if labels is not None:
        for entry in table:
            if entry.path.startswith("head"):
                have_shape = tensors[entry.hf_name].shape if entry.hf_name in tensors else None
                last = entry.path.startswith(("head_out", "head/"))
                if have_shape != entry.hf_shape or (others and last):
                    tensors.pop(entry.hf_name, None)
                    new_head = True
        drawn = {e.hf_name: e.hf_shape for e in table if e.path.startswith("head")}
    else:
        drawn = {}
    want = {entry.hf_name: entry.hf_shape for entry in table}
    have = {name: tensor.shape for name, tensor in tensors.items()}
    if want != drawn | have:
        raise InputError(f"{directory}: {_differences(want, drawn | have)}")
    return OpenedClassifier(module, directory, new_head, table, tensors)


def save_classifier(
    directory: str | os.PathLike[str], module: Classifier, params: Params, tokenizer: Any = None
) -> None:
    """Writes a directory that `open_classifier` reads and, for the encoder-only families, transformers too.

    config.json comes last: a directory that has one is whole. With several processes, all must call this; process 0
    writes.

    Args:
      params: the parameter tree, sharded or not.
      tokenizer: saved along when given (its `save` is handed the directory).

    Raises:
      InputError: the parameters are not the module's, or the directory cannot be written.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    table = name_table_of(module)
    want = {entry.path: entry.shape for entry in table}
    have = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    if want != have:
        raise InputError(f"save_classifier: {_differences(want, have)}")
    tensors = {}
    for entry in table:
        array = entry.to_hf(whole(flat[entry.path]))
        tensors[entry.hf_name] = Tensor(
            array.shape, array.dtype, functools.partial(np.asarray, array)
        )
    if jax.process_index() != 0:
        return
    target = pathlib.Path(directory).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / "config.json").unlink(missing_ok=True)
        fresh = target / "model.safetensors.new"
        write_safetensors(fresh, tensors)
        fresh.replace(target / "model.safetensors")
        if tokenizer is not None:
            tokenizer.save(target)
        text = json.dumps(_fields(module, next(iter(tensors.values())).dtype.name), indent=2)
        (target / "config.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{target}: cannot write the classifier ({error.strerror or error})"
        ) from error


def _with_labels(module: Classifier, labels: tuple[str, ...]) -> Classifier:
    if isinstance(module, EncoderClassifier):
        return module.clone(config=dataclasses.replace(module.config, labels=labels))
    return module.clone(labels=labels)


def name_table_of(module: Classifier) -> tuple[Entry, ...]:
    """The name table of a classifier; a T5's names are its parameter paths."""
    if isinstance(module, EncoderClassifier):
        return classifier_name_table(module.config)
    abstract, _ = abstract_module(module, *text_examples(module))
    flat = traverse_util.flatten_dict(abstract, sep="/")
    return tuple(
        Entry(path.replace("/", "."), path, leaf.shape, leaf.shape, False)
        for path, leaf in flat.items()
    )


def _fields(module: Classifier, dtype: str) -> dict[str, Any]:
    if isinstance(module, EncoderClassifier):
        return classifier_config.encoder_config_to_hf(module.config, dtype)
    of_kind: dict[str, Any] = {"model_type": T5_KIND}
    if isinstance(module, T5Scorer):
        of_kind = {"model_type": SCORER_KIND, "likelihood": module.likelihood}
    return {
        **of_kind,
        "labels": list(module.labels),
        "t5": dataclasses.asdict(module.config),
        "torch_dtype": dtype,
    }


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read it ({error.strerror}); a model directory has one"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(fields).__name__}")
    return fields


def _differences(want: Mapping[str, tuple], have: Mapping[str, tuple]) -> str:
    parts = []
    for title, names in (
        ("only in the model", [name for name in want if name not in have]),
        ("only in the file", [name for name in have if name not in want]),
        (
            "other shapes (the model's against the file's)",
            [f"{n} {want[n]} against {have[n]}" for n in want if n in have and want[n] != have[n]],
        ),
    ):
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            parts.append(f"{title}: {', '.join(names[:8])}{more}")
    return "; ".join(parts)
