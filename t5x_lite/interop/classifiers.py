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
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.foreign.hashes import check_hashes, write_hashes
from t5x_lite.foreign.json_files import read_json
from t5x_lite.interop import classifier_config, hf_config
from t5x_lite.interop.classifier_names import classifier_name_table
from t5x_lite.interop.encoder_files import encoder_tensors, is_of_another_task
from t5x_lite.interop.finite import READ, WRITTEN, checked
from t5x_lite.interop.hf import open_encoder
from t5x_lite.interop.hf_config import architectures
from t5x_lite.interop.hub import ADAPTER_CONFIG, model_directory
from t5x_lite.interop.names import Entry
from t5x_lite.interop.opened import differences
from t5x_lite.interop.peft_config import way_out
from t5x_lite.interop.subfolders import also_in
from t5x_lite.interop.tensors import DTYPES, Tensor, write_safetensors
from t5x_lite.interop.weight_files import open_weights
from t5x_lite.interop.wrapped_names import pass_over
from t5x_lite.models.classifier_init import abstract_module, init_module, text_examples
from t5x_lite.models.config import MODEL_TYPES, Execution, T5Config
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

        Raises:
          InputError: a tensor that is not finite.
        """
        placed = traverse_util.flatten_dict(shardings, sep="/") if shardings else {}
        drawn = self._drawn(seed) if self.new_head else {}
        params = {}
        for entry in self._table:
            if entry.hf_name in self._tensors:
                where = f"{self.directory}: {entry.hf_name}"
                array = checked(self._tensors[entry.hf_name].read(), where, READ)
                array = entry.to_canonical(array)
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

    def _drawn(self, seed: int) -> dict[str, jax.Array]:
        """The parameters that are not in the file, by path; the others are never made."""
        missing = {entry.path for entry in self._table if entry.hf_name not in self._tensors}

        def draw(rng: jax.Array) -> dict[str, jax.Array]:
            fresh = init_module(self.module, rng, *text_examples(self.module))
            flat = traverse_util.flatten_dict(fresh, sep="/")
            return {path: flat[path] for path in missing}

        # As one program: on a mesh, the example's single row could not be split op by op.
        return jax.jit(draw)(streams.key(seed, "init"))


def open_classifier(
    source: str | os.PathLike[str],
    dtype: str = "float32",
    revision: str | None = None,
    *,
    labels: tuple[str, ...] | None = None,
    as_encoder: bool = False,
) -> OpenedClassifier:
    """Opens a classifier and checks its files, without reading the weights.

    Args:
      source: a directory, the workdir of a run that left its model there, or a hub id with or without "@revision". Of
        a T5 (with or without a decoder) the encoder is taken.
      dtype: compute type, "float32" or "bfloat16".
      labels: what it shall tell apart. Where its own labels are others, or the file has no head (roberta-base), the
        head is new; None takes the labels of the file.
      as_encoder: whoever asks reads hidden states alone, so that nothing is said of a new head.

    Raises:
      InputError: it cannot be found or read, is no classifier, or its tensors are not those of its config: then the
        message lists what is only in the model and what is only in the file.
    """
    directory = model_directory(source, revision)
    fields = _read_json(directory / "config.json")
    check_hashes(directory)
    module, tensors = _described(directory, fields, dtype)
    keeps_labels = labels is None or module.labels == labels
    if labels is not None:
        module = _with_labels(module, labels)
    table = name_table_of(module)
    drawn = {}
    for entry in table:
        there = tensors.get(entry.hf_name)
        if there is not None and _is_last(entry):
            kept = keeps_labels and not is_of_another_task(fields)
        else:
            kept = there is not None and (labels is None or there.shape == entry.hf_shape)
        if entry.path.startswith("head") and not kept:
            drawn[entry.hf_name] = entry.hf_shape
    if drawn and labels is None:
        raise InputError(
            f"{directory}: an encoder without the head of a sequence classifier ({_classes(fields)};"
            f" {', '.join(drawn)} would be new); say which labels it shall learn, and train it: configs/classifier.py"
        )
    own = {name: tensor for name, tensor in tensors.items() if name not in drawn}
    want = {entry.hf_name: entry.hf_shape for entry in table if entry.hf_name not in drawn}
    have = {name: tensor.shape for name, tensor in own.items()}
    if any(have.get(name) != shape for name, shape in want.items()):
        raise InputError(f"{directory}: {differences(want, have, 'the file')}")
    own = pass_over(own, want, directory, "this classifier")
    if drawn and not as_encoder:
        log.info("%s: new, and to be trained: %s", directory, ", ".join(drawn))
    return OpenedClassifier(module, directory, bool(drawn), table, own)


def with_pads_of(module: Classifier, pad_id: int | None, name: object) -> Classifier:
    """The classifier with its tokenizer's padding, which transformers masks, whatever config.json calls padding.

    (A config that says [SEP] would hide the ends of texts. RoBERTa counts positions by its config's, so that it stays.)

    pad_id: the tokenizer's; None where it has none. name: of the model, for the log.
    """
    if not isinstance(module, EncoderClassifier) or pad_id in (None, module.config.pad_token_id):
        return module
    kept = module.config.family == "roberta"
    log.warning(
        "%s: its config's pad_token_id is %d, its tokenizer's %d: %s is taken for padding; mend config.json",
        *(name, module.config.pad_token_id, pad_id, "the former" if kept else "the latter"),
    )
    return (
        module
        if kept
        else module.clone(config=dataclasses.replace(module.config, pad_token_id=pad_id))
    )


def describe_classifier(
    directory: pathlib.Path, execution: Execution, labels: tuple[str, ...] | None = None
) -> Classifier:
    """The classifier that `directory`/config.json describes; there need be no weights.

    labels: what it shall tell apart, in place of what it does.

    Raises:
      InputError: there is no config.json, or it describes no classifier.
    """
    module = _module(directory, _read_json(directory / "config.json"), execution)
    return module if labels is None else _with_labels(module, labels)


def _described(
    directory: pathlib.Path, fields: Mapping[str, Any], dtype: str
) -> tuple[Classifier, Mapping[str, Tensor]]:
    """The classifier, and the tensors of its file under the names of its table."""
    kind = fields.get("model_type")
    module = _module(directory, fields, Execution(dtype=dtype))
    if kind in MODEL_TYPES:
        encoder = open_encoder(directory)
        tensors = {path.replace("/", "."): tensor for path, (_, tensor) in encoder.stored.items()}
        return module.clone(config=encoder.config), tensors
    if isinstance(module, EncoderClassifier):
        family = module.config.family
        return module, encoder_tensors(open_weights(directory), family, directory)
    return module, open_weights(directory)


def _module(directory: pathlib.Path, fields: Mapping[str, Any], execution: Execution) -> Classifier:
    where, kind = str(directory / "config.json"), fields.get("model_type")
    if kind in MODEL_TYPES:
        # Of the encoder alone: a head of the decoder's is nothing to it.
        config = hf_config.config_from_hf(fields, separate_head=False, where=where)
        return T5Classifier(config, classifier_config.labels_from_hf(fields, where), execution)
    if kind in (T5_KIND, SCORER_KIND):
        return _ours(fields, where, execution)
    return EncoderClassifier(
        classifier_config.encoder_config_from_hf(fields, where), execution.dtype
    )


def _ours(fields: Mapping[str, Any], where: str, execution: Execution) -> Classifier:
    try:
        config, names = T5Config(**fields["t5"]), fields["labels"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("labels is no list of names")
        names = tuple(names)
        if fields["model_type"] == T5_KIND:
            return T5Classifier(config, names, execution)
        return T5Scorer(config, execution, names, fields["likelihood"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: not a classifier of ours ({error})") from error


def _is_last(entry: Entry) -> bool:
    """Whether a parameter is of the layer whose outputs are the labels."""
    return entry.path.startswith(("head_out/", "head/"))


def _classes(fields: Mapping[str, Any]) -> str:
    return ", ".join(architectures(fields)) or "no architecture named"


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
      InputError: the parameters are not the module's, or not finite, or the directory cannot be written.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    table = name_table_of(module)
    want = {entry.path: entry.shape for entry in table}
    have = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    if want != have:
        raise InputError(f"save_classifier: {differences(want, have, 'the parameters given')}")
    tensors = {}
    for entry in table:
        array = entry.to_hf(whole(flat[entry.path]))
        checked(array, f"save_classifier: {entry.path}", WRITTEN)
        tensors[entry.hf_name] = Tensor(
            array.shape, array.dtype, functools.partial(np.asarray, array)
        )
    if jax.process_index() != 0:
        return
    target = pathlib.Path(directory).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for stale in ("config.json", HASHES):
            (target / stale).unlink(missing_ok=True)
        fresh = target / "model.safetensors.new"
        write_safetensors(fresh, tensors)
        fresh.replace(target / "model.safetensors")
        if tokenizer is not None:
            tokenizer.save(target)
        text = json.dumps(_fields(module, next(iter(tensors.values())).dtype.name), indent=2)
        (target / "config.json").write_text(text + "\n", encoding="utf-8")
        write_hashes(target, ["model.safetensors", "config.json"])
    except OSError as error:
        raise InputError(
            f"{target}: cannot write the classifier ({error.strerror or error})"
        ) from error


def _with_labels(module: Classifier, labels: tuple[str, ...]) -> Classifier:
    if isinstance(module, EncoderClassifier):
        # A head that is trained here tells one label from the others.
        return module.clone(
            config=dataclasses.replace(module.config, labels=labels, problem_type="")
        )
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
        fields = read_json(path)
    except OSError as error:
        if (path.parent / ADAPTER_CONFIG).is_file():
            raise InputError(
                f"{path.parent}: an adapter, and no model; {way_out(path.parent, 'SEQ_CLS')}"
            ) from error
        raise InputError(
            f"{path}: cannot read it ({error.strerror or error}); a model directory has one"
            + also_in(path.parent, path.name)
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(fields).__name__}")
    return fields
