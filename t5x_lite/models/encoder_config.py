"""What an encoder-only classifier is: BERT, RoBERTa or DistilBERT with a classification head."""

from __future__ import annotations

import dataclasses

from t5x_lite.errors import InputError

# What the logits are: of one label among several, of each label by itself, or numbers. "": one label is by itself.
PROBLEM_TYPES = ("", "single_label_classification", "multi_label_classification", "regression")
FAMILIES = ("bert", "roberta", "distilbert")
# Theirs, by the names of a config.json: "gelu" is the erf form, "gelu_new" the tanh form.
ENCODER_ACTIVATIONS = ("gelu", "gelu_new", "relu")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The architecture of a sequence classifier, the families differing in embeddings and head.

    max_positions: rows of the position table; RoBERTa's first `pad_token_id + 1` rows stand for no token, so that
      its longest text has `max_length` tokens.
    labels: their names, in the order of the logits. One label: a scalar head.
    model_type: what transformers calls it, where that is not the family ("xlm-roberta" is a RoBERTa); "": the family.
    problem_type: one of PROBLEM_TYPES, as transformers has them: how logits are to be read.

    Sources: Devlin et al. 2019 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692), Sanh et al. 2019
    (arXiv:1910.01108).
    """

    family: str
    vocab_size: int
    d_model: int
    d_ff: int
    num_layers: int
    num_heads: int
    max_positions: int
    labels: tuple[str, ...]
    type_vocab_size: int = 1
    layer_norm_epsilon: float = 1e-12
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    classifier_dropout_rate: float = 0.1
    activation: str = "gelu"
    initializer_range: float = 0.02
    pad_token_id: int = 0
    problem_type: str = ""
    model_type: str = ""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(f"model.family must be one of {FAMILIES}, got {self.family!r}")
        for field in (
            "vocab_size d_model d_ff num_layers num_heads max_positions type_vocab_size"
        ).split():
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"model.{field} must be a whole number above 0, got {value!r}")
        if self.d_model % self.num_heads:
            raise InputError(
                f"model.num_heads = {self.num_heads} does not divide d_model = {self.d_model}"
            )
        if self.activation not in ENCODER_ACTIVATIONS:
            raise InputError(
                f"model.activation must be one of {ENCODER_ACTIVATIONS}, got {self.activation!r}"
            )
        if self.problem_type not in PROBLEM_TYPES:
            raise InputError(
                f"problem_type must be one of {PROBLEM_TYPES[1:]}, got {self.problem_type!r}"
            )
        if not self.labels:
            raise InputError("model.labels must name at least one label")
        if self.max_length < 1:
            raise InputError(
                f"model.max_positions = {self.max_positions} leaves no position behind RoBERTa's pad"
            )

    @property
    def first_position(self) -> int:
        """The position of a text's first token."""
        return self.pad_token_id + 1 if self.family == "roberta" else 0

    @property
    def max_length(self) -> int:
        """The most tokens a text can have."""
        return self.max_positions - self.first_position
