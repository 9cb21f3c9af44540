"""What an encoder-only classifier is: BERT, RoBERTa or DistilBERT with a classification head."""

from __future__ import annotations

from typing import Annotated

from t5x_lite.errors import InputError
from t5x_lite.models.config import Layers, Size
from t5x_lite.sections import Amount, CountOrNone, Fraction, OneOf, Section

# What the logits are: of one label among several, of each label by itself, or numbers. "": one label is by itself.
PROBLEM_TYPES = ("", "single_label_classification", "multi_label_classification", "regression")
FAMILIES = ("bert", "roberta", "distilbert")
# Theirs, by the names of a config.json: "gelu" is the erf form, "gelu_new" the tanh form.
ENCODER_ACTIVATIONS = ("gelu", "gelu_new", "relu")


class EncoderConfig(Section, name="model"):
    """The architecture of a sequence classifier, the families differing in embeddings and head.

    max_positions: rows of the position table; RoBERTa's first `pad_token_id + 1` rows stand for no token, so that
      its longest text has `max_length` tokens.
    labels: their names, in the order of the logits. One label: a scalar head.
    model_type: what transformers calls it, where that is not the family ("xlm-roberta" is a RoBERTa); "": the family.
    problem_type: one of PROBLEM_TYPES, as transformers has them: how logits are to be read.

    Sources: Devlin et al. 2019 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692), Sanh et al. 2019
    (arXiv:1910.01108).
    """

    family: Annotated[str, OneOf(*FAMILIES)]
    vocab_size: Size
    d_model: Size
    d_ff: Size
    num_layers: Layers
    num_heads: Size
    max_positions: Size
    labels: tuple[str, ...]
    type_vocab_size: Size = 1
    layer_norm_epsilon: Fraction = 1e-12
    dropout_rate: Fraction = 0.1
    attention_dropout_rate: Fraction = 0.1
    classifier_dropout_rate: Fraction = 0.1
    activation: Annotated[str, OneOf(*ENCODER_ACTIVATIONS)] = "gelu"
    initializer_range: Amount = 0.02
    pad_token_id: CountOrNone = 0
    problem_type: Annotated[str, OneOf(*PROBLEM_TYPES)] = ""
    model_type: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_token_id >= self.vocab_size:
            raise InputError(
                f"model.pad_token_id = {self.pad_token_id} is no token: model.vocab_size is {self.vocab_size}"
            )
        if self.d_model % self.num_heads:
            raise InputError(
                f"model.num_heads = {self.num_heads} does not divide d_model = {self.d_model}"
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
