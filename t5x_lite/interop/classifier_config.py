"""`config.json` of sequence classifiers <-> `EncoderConfig`, and of our T5 encoder classifiers <-> their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5x_lite.errors import InputError
from t5x_lite.interop.hf_config import flag, said_of
from t5x_lite.models.encoder_config import ENCODER_ACTIVATIONS, EncoderConfig

_ARCHITECTURES = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "camembert": "CamembertForSequenceClassification",
}
# RoBERTas by other names, with tokenizers of their own.
_FAMILIES = {"xlm-roberta": "roberta", "camembert": "roberta"}
# Our field -> theirs; DistilBERT has names of its own.
_SIZES = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "d_ff": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "max_positions": "max_position_embeddings",
}
_DISTILBERT_SIZES = _SIZES | {
    "d_model": "dim",
    "d_ff": "hidden_dim",
    "num_layers": "n_layers",
    "num_heads": "n_heads",
}
_MOST_LABELS = 1_000_000
_PADS = {"bert": 0, "roberta": 1, "distilbert": 0}


def encoder_config_from_hf(fields: Mapping[str, Any], where: str) -> EncoderConfig:
    """The architecture that the fields of a classifier's config.json describe.

    Args:
      fields: the JSON object.
      where: what to call the file in an error.

    Raises:
      InputError: another kind of model, a field that is missing, or a value that is not supported.
    """
    kind = fields.get("model_type")
    if not isinstance(kind, str) or kind not in _ARCHITECTURES:
        raise InputError(
            f"{where}: model_type is {kind!r}; expected a sequence classifier of {', '.join(_ARCHITECTURES)}"
        )
    family = _FAMILIES.get(kind, kind)
    distil = family == "distilbert"
    sizes = _DISTILBERT_SIZES if distil else _SIZES
    if missing := [name for name in sizes.values() if not isinstance(fields.get(name), int)]:
        raise InputError(f"{where}: no whole number in {', '.join(missing)}")
    positions = fields.get("position_embedding_type", "absolute")
    if positions != "absolute" or flag(fields, "sinusoidal_pos_embds", where):
        # (DistilBERT's sinusoidal table is stored as any other, but transformers keeps it frozen.)
        raise InputError(
            f"{where}: position embeddings are {positions!r}; only learned ones are read"
        )
    for name in ("is_decoder", "add_cross_attention"):
        if flag(fields, name, where):
            raise InputError(
                f"{where}: {name} is true, so that a token does not see those behind it; only encoders are read"
            )
    activation = fields.get("activation" if distil else "hidden_act", "gelu")
    if activation not in ENCODER_ACTIVATIONS:
        raise InputError(
            f"{where}: the activation is {activation!r}; supported: {', '.join(ENCODER_ACTIVATIONS)}"
        )
    dropout = fields.get("dropout" if distil else "hidden_dropout_prob", 0.1)
    attention = fields.get("attention_dropout" if distil else "attention_probs_dropout_prob", 0.1)
    of_head = fields.get("seq_classif_dropout", 0.2) if distil else fields.get("classifier_dropout")
    pad = fields.get("pad_token_id")
    with said_of(where):
        return EncoderConfig(
            **{ours: fields[theirs] for ours, theirs in sizes.items()},
            family=family,
            labels=labels_from_hf(fields, where),
            type_vocab_size=1 if distil else fields.get("type_vocab_size", 2),
            layer_norm_epsilon=1e-12 if distil else fields.get("layer_norm_eps", 1e-12),
            dropout_rate=dropout,
            attention_dropout_rate=attention,
            classifier_dropout_rate=dropout if of_head is None else of_head,
            activation=activation,
            initializer_range=fields.get("initializer_range", 0.02),
            pad_token_id=_PADS[family] if pad is None else pad,
            problem_type=fields.get("problem_type") or "",
            model_type="" if kind == family else kind,
        )


def encoder_config_to_hf(config: EncoderConfig, dtype: str) -> dict[str, Any]:
    """The fields of a config.json that transformers loads; `dtype` is that of the weights."""
    distil = config.family == "distilbert"
    sizes = _DISTILBERT_SIZES if distil else _SIZES
    fields: dict[str, Any] = {theirs: getattr(config, ours) for ours, theirs in sizes.items()}
    if distil:
        fields |= {
            "activation": config.activation,
            "dropout": config.dropout_rate,
            "attention_dropout": config.attention_dropout_rate,
            "seq_classif_dropout": config.classifier_dropout_rate,
            "sinusoidal_pos_embds": False,
        }
    else:
        fields |= {
            "hidden_act": config.activation,
            "hidden_dropout_prob": config.dropout_rate,
            "attention_probs_dropout_prob": config.attention_dropout_rate,
            "classifier_dropout": config.classifier_dropout_rate,
            "type_vocab_size": config.type_vocab_size,
            "layer_norm_eps": config.layer_norm_epsilon,
            "position_embedding_type": "absolute",
        }
    return fields | {
        "architectures": [_ARCHITECTURES[config.model_type or config.family]],
        "id2label": {str(number): label for number, label in enumerate(config.labels)},
        "label2id": {label: number for number, label in enumerate(config.labels)},
        "initializer_range": config.initializer_range,
        "model_type": config.model_type or config.family,
        "pad_token_id": config.pad_token_id,
        "problem_type": config.problem_type or None,
        "torch_dtype": dtype,
    }


def labels_from_hf(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names of the labels that the fields of a config.json give, in order; two without names by default.

    Raises:
      InputError: the names are not those of the numbers from 0 on.
    """
    names = fields.get("id2label")
    if names:
        numbers = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
        if not numbers or {*names} != {*numbers}:
            raise InputError(
                f"{where}: id2label is {names!r:.80}; expected a name for each of 0, 1, …"
            )
        return tuple(str(names[number]) for number in numbers)
    count = fields.get("num_labels", 2)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= _MOST_LABELS:
        raise InputError(
            f"{where}: num_labels is {count!r:.80}; expected a whole number from 1 to {_MOST_LABELS}"
        )
    return tuple(f"LABEL_{number}" for number in range(count))
