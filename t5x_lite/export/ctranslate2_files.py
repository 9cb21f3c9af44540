"""A T5 as a CTranslate2 model, written from the parameters by CTranslate2's own specification, without torch.

CTranslate2's converter reads the scaling of the decoder's output off `tie_word_embeddings`. transformers 5 sets that to
true in every T5 and mT5 that it loads, whatever their config.json says, so that the logits of an untied model (T5 1.1,
FLAN-T5, mT5) come out scaled: the greedy tokens stay, beams, samples and scores are others. Here the scaling is that of
`T5Config`.
"""

from __future__ import annotations

import importlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from flax import traverse_util

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.export.staged import staged
from t5x_lite.interop.names import HEAD, SHARED, name_table
from t5x_lite.models.config import T5Config
from t5x_lite.models.init import Params
from t5x_lite.params.gather import whole

QUANTIZATIONS = (
    *("float32", "float16", "bfloat16", "int16"),
    *("int8", "int8_float32", "int8_float16", "int8_bfloat16"),
)
_ACTIVATIONS = {"relu": "RELU", "gelu": "GELUTanh", "gelu_erf": "GELU", "silu": "SWISH"}


def save_ctranslate2(
    directory: str | os.PathLike[str],
    config: T5Config,
    params: Params,
    vocabulary: Vocabulary | None,
    quantization: str = "float32",
) -> None:
    """Writes a directory that `ctranslate2.Translator` loads; one that lies there is replaced.

    Args:
      config: the architecture.
      params: the canonical unrolled parameter tree.
      vocabulary: whose tokens are the names that CTranslate2 has for ids; None: names are `token_names`'s.
      quantization: one of QUANTIZATIONS: the type of the weights.

    Raises:
      InputError: ctranslate2 is not installed, an unknown quantization, or the directory cannot be written.
    """
    if quantization not in QUANTIZATIONS:
        raise InputError(
            f"quantization: expected one of {', '.join(QUANTIZATIONS)}, got {quantization!r}"
        )
    specs = _specs()
    tensors = dict(_tensors(config, params))
    spec = specs.TransformerSpec.from_config(
        (config.num_encoder_layers, config.num_decoder_layers),
        config.num_heads,
        pre_norm=True,
        activation=specs.common_spec.Activation[_ACTIVATIONS[config.activation]],
        ffn_glu=config.is_gated,
        relative_attention_bias=True,
        rms_norm=True,
    )
    _fill_stack(spec.encoder, "encoder", config, tensors)
    _fill_stack(spec.decoder, "decoder", config, tensors)
    spec.decoder.projection.weight = tensors.get(HEAD, tensors[SHARED])
    if config.scale_decoder_outputs:
        spec.decoder.scale_outputs = np.float32(config.d_model**-0.5)
    names = token_names(config, vocabulary)
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    unknown = None if vocabulary is None else vocabulary.unk_id
    spec.config.unk_token = names[config.pad_token_id if unknown is None else unknown]
    spec.config.bos_token = names[config.pad_token_id]
    spec.config.eos_token = names[config.eos_token_id]
    spec.config.decoder_start_token = names[config.decoder_start_token_id]
    spec.config.layer_norm_epsilon = config.layer_norm_epsilon
    spec.validate()
    spec.optimize(quantization=quantization)
    with staged(pathlib.Path(directory).expanduser(), "the CTranslate2 model") as folder:
        spec.save(str(folder))


def token_names(config: T5Config, vocabulary: Vocabulary | None) -> list[str]:
    """The name of each id, all different: the tokenizer's tokens, and `<unused_ID>` where it has none."""
    names = [f"<unused_{id}>" for id in range(config.vocab_size)]
    if vocabulary is not None:
        for name, id in vocabulary.tokenizer.get_vocab().items():
            names[id] = name
    return names


def _specs() -> Any:
    try:
        # Optional: whoever exports to other formats need not have it.
        return importlib.import_module("ctranslate2.specs.transformer_spec")
    except ImportError as error:
        raise InputError(
            f"--to ctranslate2 needs the package ctranslate2, which is not to be had here ({error}): pip install"
            " ctranslate2"
        ) from error


def _tensors(config: T5Config, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors by Hugging Face's names and in its layout ([out, in]), which is CTranslate2's too: float32."""
    flat = traverse_util.flatten_dict(params, sep="/")
    for entry in name_table(config):
        yield entry.hf_name, entry.to_hf(whole(flat[entry.path])).astype(np.float32)


def _fill_stack(spec: Any, stack: str, config: T5Config, tensors: dict[str, np.ndarray]) -> None:
    embeddings = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
    embeddings.weight = tensors[SHARED]
    spec.scale_embeddings = False
    spec.layer_norm.gamma = tensors[f"{stack}.final_layer_norm.weight"]
    for number, layer in enumerate(spec.layer):
        block = f"{stack}.block.{number}.layer"
        _fill_attention(layer.self_attention, f"{block}.0", "SelfAttention", tensors)
        owner = number if config.has_bias_per_layer else 0
        bias = f"{stack}.block.{owner}.layer.0.SelfAttention.relative_attention_bias.weight"
        layer.self_attention.relative_attention_bias = tensors[bias]
        layer.self_attention.relative_attention_max_distance = np.int32(
            config.relative_attention_max_distance
        )
        if stack == "decoder":
            _fill_attention(layer.attention, f"{block}.1", "EncDecAttention", tensors)
        last = f"{block}.{2 if stack == 'decoder' else 1}"
        layer.ffn.layer_norm.gamma = tensors[f"{last}.layer_norm.weight"]
        first = "wi_0" if config.is_gated else "wi"
        layer.ffn.linear_0.weight = tensors[f"{last}.DenseReluDense.{first}.weight"]
        if config.is_gated:
            layer.ffn.linear_0_noact.weight = tensors[f"{last}.DenseReluDense.wi_1.weight"]
        layer.ffn.linear_1.weight = tensors[f"{last}.DenseReluDense.wo.weight"]


def _fill_attention(spec: Any, layer: str, kind: str, tensors: dict[str, np.ndarray]) -> None:
    spec.queries_scale = 1.0  # T5 has it in its weights
    spec.layer_norm.gamma = tensors[f"{layer}.layer_norm.weight"]
    query, *others = (tensors[f"{layer}.{kind}.{letter}.weight"] for letter in "qkv")
    if kind == "SelfAttention":
        spec.linear[0].weight = np.concatenate([query, *others])
    else:
        spec.linear[0].weight, spec.linear[1].weight = query, np.concatenate(others)
    spec.linear[-1].weight = tensors[f"{layer}.{kind}.o.weight"]
