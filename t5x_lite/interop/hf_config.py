"""Hugging Face `config.json` and `generation_config.json` <-> `T5Config`.

The trap: `tie_word_embeddings` cannot be believed. transformers 4 used it both for "the output projection is the
embedding" and for "scale the decoder's output by d_model**-0.5". transformers 5 writes it as true for every T5, untied
ones included, with the scaling in `scale_decoder_outputs`. So the weights decide what is tied (see `interop.hf`), and
the scaling is `scale_decoder_outputs` where there is one, else transformers 4's rule.

Its relatives have traps of their own. transformers 5 scales no mT5 and has no field that would say so: nor do we. It
scales every UMT5, also the published ones, whose config.json says tie_word_embeddings: false and which were trained (by
T5X) and are run (by transformers 4) without scaling: we follow the file.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json
from t5x_lite.interop.hub import ADAPTER_CONFIG
from t5x_lite.interop.subfolders import also_in
from t5x_lite.models.config import MODEL_TYPES, T5Config

_ARCHITECTURES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
}
_REQUIRED = ("vocab_size", "d_model", "d_kv", "d_ff", "num_heads")
_OPTIONAL = (  # absent from some early files: the defaults of T5Config are T5's
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
    "dropout_rate",
    "initializer_factor",
    "pad_token_id",
)
# transformers' activations and ours: its "gelu" is the erf form, but for feed_forward_proj = "gated-gelu".
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "silu": "silu",
    "swish": "silu",
}
_ACTIVATIONS_TO_HF = {"relu": "relu", "gelu": "gelu_new", "gelu_erf": "gelu", "silu": "silu"}


def read_config(directory: pathlib.Path) -> dict[str, Any]:
    """The fields of `directory`/config.json, known to describe a model of the T5 family.

    Raises:
      InputError: no such file, not JSON, or a model of another type.
    """
    path = directory / "config.json"
    try:
        fields = read_json(path)
    except OSError as error:
        if (directory / ADAPTER_CONFIG).is_file():
            raise InputError(
                f"{directory}: an adapter, and no model; load_pretrained({str(directory)!r}) loads it with its base,"
                " load_adapter puts it on a model that is loaded, and adapter.method = 'load' does in a config"
            ) from error
        raise InputError(
            f"{path}: cannot read it ({error.strerror or error}); a Hugging Face model directory has one"
            + also_in(directory, path.name)
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(fields).__name__}")
    if fields.get("model_type") not in MODEL_TYPES:
        names = ", ".join(architectures(fields)) or "no architecture named"
        raise InputError(
            f"{path}: model_type is {fields.get('model_type')!r} ({names});"
            f" expected {', '.join(map(repr, MODEL_TYPES))}"
        )
    return fields


def refuse_quantized(directory: pathlib.Path) -> None:
    """Says of weights that are none of a T5's that they are quantized, where config.json does.

    Raises:
      InputError: how they are, and what to do.
    """
    said = read_config(directory).get("quantization_config")
    if isinstance(said, Mapping):
        kind = said.get("quant_method") or "of no named method"
        raise InputError(
            f"{directory / 'config.json'}: quantization_config: the weights are quantized ({kind!s:.40}), and are not"
            " read so; take the model that they were made from, or let transformers write floats: model.dequantize()"
            " before save_pretrained. quantization = 'int8' quantizes here"
        )


def config_from_hf(fields: Mapping[str, Any], *, separate_head: bool, where: str) -> T5Config:
    """The architecture that `fields` of a config.json describe.

    Args:
      fields: as `read_config` returns them.
      separate_head: the checkpoint has an output projection of its own.
      where: what to call the file in an error.

    Raises:
      InputError: a field is missing or has a value that this T5 cannot have.
    """
    missing = [name for name in (*_REQUIRED, "num_layers") if not _is_whole(fields.get(name))]
    if missing:
        raise InputError(f"{where}: no whole number in {', '.join(missing)}")
    eos = _eos(fields.get("eos_token_id"), where)
    optional = {name: fields[name] for name in _OPTIONAL if fields.get(name) is not None}
    start = fields.get("decoder_start_token_id")
    scale = flag(fields, "scale_decoder_outputs", where)
    flag(fields, "tie_word_embeddings", where)
    decoder_layers = fields.get("num_decoder_layers")
    with said_of(where):
        return T5Config(
            **{name: fields[name] for name in _REQUIRED},
            **optional,
            num_encoder_layers=fields["num_layers"],
            num_decoder_layers=fields["num_layers"] if decoder_layers is None else decoder_layers,
            feed_forward_proj=_feed_forward(fields, where),
            tie_word_embeddings=not separate_head,
            scale_decoder_outputs=_says_scaled(fields) if scale is None else scale,
            eos_token_id=eos,
            decoder_start_token_id=optional.get("pad_token_id", 0) if start is None else start,
            model_type=fields["model_type"],
        )


def _feed_forward(fields: Mapping[str, Any], where: str) -> str:
    """Our feed_forward_proj. As in transformers, dense_act_fn and is_gated_act go over the file's own."""
    default = "relu" if fields["model_type"] == "t5" else "gated-gelu"
    given = fields.get("feed_forward_proj", default)
    gate, _, activation = given.rpartition("-") if isinstance(given, str) else ("", "", None)
    if given == "gated-gelu":
        activation = "gelu_new"
    name, named = "feed_forward_proj", fields.get("dense_act_fn")
    if named is not None and isinstance(given, str) and gate in ("", "gated"):
        name, activation = "dense_act_fn", named
    if (
        not isinstance(activation, str)
        or activation not in _ACTIVATIONS
        or gate not in ("", "gated")
    ):
        gated = ", and with 'gated-' before them" if name == "feed_forward_proj" else ""
        raise InputError(
            f"{where}: {name} is {fields.get(name)!r:.80}; supported: {', '.join(_ACTIVATIONS)}{gated}"
        )
    is_gated = flag(fields, "is_gated_act", where)
    is_gated = bool(gate) if is_gated is None else is_gated
    return ("gated-" if is_gated else "") + _ACTIVATIONS[activation]


def architectures(fields: Mapping[str, Any]) -> list[str]:
    """The classes that a config.json names; none where it names none in a list."""
    named = fields.get("architectures")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def flag(fields: Mapping[str, Any], name: str, where: str) -> bool | None:
    """A field that is true, false, or not there (None).

    Raises:
      InputError: it is something else, "false" say, which would count as true.
    """
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise InputError(f"{where}: {name} is {value!r:.80}; expected true or false")


@contextlib.contextmanager
def said_of(where: str) -> Iterator[None]:
    """Lets what an architecture says of its fields name the file that they are from."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _eos(value: Any, where: str) -> int:
    """The token that ends a text: of several the first (decoding reads the list), and T5's where none is named."""
    ids = value if isinstance(value, list) else [value]
    if ids == [None]:
        return T5Config.eos_token_id
    if not ids or not all(map(_is_whole, ids)):
        raise InputError(f"{where}: eos_token_id is {value!r}; expected a token id or several")
    return ids[0]


def says_tied(fields: Mapping[str, Any]) -> bool:
    """What config.json says of tied embeddings, which is transformers 4's rule for the scaling too (absent: tied)."""
    return fields.get("tie_word_embeddings") is not False


def _says_scaled(fields: Mapping[str, Any]) -> bool:
    return fields["model_type"] != "mt5" and says_tied(fields)


def config_to_hf(config: T5Config, dtype: str) -> dict[str, Any]:
    """The fields of a config.json that transformers 4 and 5 both load right; `dtype` is that of the weights.

    A model that is tied but not scaled (or the reverse) is one that transformers 4 cannot express: it gets a warning.
    """
    if config.tie_word_embeddings != config.scale_decoder_outputs:
        log.warning(
            "tie_word_embeddings=%s with scale_decoder_outputs=%s: transformers 5 loads this export"
            " right, transformers 4 knows only models where the two agree",
            config.tie_word_embeddings,
            config.scale_decoder_outputs,
        )
    activation = _ACTIVATIONS_TO_HF[config.activation]
    # "gated-gelu" is the tanh form to transformers; dense_act_fn tells the other one.
    feed_forward = activation
    if config.is_gated:
        feed_forward = f"gated-{activation.removesuffix('_new')}"
    return {
        "architectures": [_ARCHITECTURES[config.model_type]],
        "d_ff": config.d_ff,
        "d_kv": config.d_kv,
        "d_model": config.d_model,
        "decoder_start_token_id": config.decoder_start_token_id,
        "dense_act_fn": activation,
        "dropout_rate": config.dropout_rate,
        "eos_token_id": config.eos_token_id,
        "feed_forward_proj": feed_forward,
        "initializer_factor": config.initializer_factor,
        "is_encoder_decoder": True,
        "is_gated_act": config.is_gated,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "model_type": config.model_type,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "num_layers": config.num_encoder_layers,
        "pad_token_id": config.pad_token_id,
        "relative_attention_max_distance": config.relative_attention_max_distance,
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        "scale_decoder_outputs": config.scale_decoder_outputs,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def generation_config_to_hf(config: T5Config) -> dict[str, Any]:
    """The fields of a generation_config.json: the special tokens, and nothing that would change decoding."""
    return {
        "decoder_start_token_id": config.decoder_start_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
