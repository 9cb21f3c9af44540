"""What the task `rank_classification` reads of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.data.sections import CutField, EncoderLength, RowsSettings, Template, Truncation
from t5x_lite.errors import InputError
from t5x_lite.evaluation.sections import BatchTokens, ComparedSettings
from t5x_lite.models.sections import QuantizableModelSettings
from t5x_lite.parallel.sections import MeshSettings
from t5x_lite.params.sections import AdapterSection
from t5x_lite.sections import Name, Section
from t5x_lite.wiring.sections import TokenizedConfig


class DataSettings(Section):
    """Rows, each with an input, choices, and the one that is right."""

    evaluation: RowsSettings
    template: Template
    encoder_length: EncoderLength
    truncation: Truncation
    cut_field: CutField
    choices: Annotated[
        tuple[str, ...],
        "The choices, texts or templates of a row's {fields}; (): those of `choices_field`.",
    ]
    choices_field: Annotated[
        str,
        "The field that holds a row's own choices, a list or one in JSON; '' (and no `choices`): the different answers"
        " of all rows.",
    ]
    gold_field: Annotated[Name, "The field that says which choice is right."]
    gold: Annotated[
        Literal["text", "number"],
        "How it says so: by the choice's text, or by its number from 0.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.choices and self.choices_field:
            raise InputError(
                "data.choices_field: data.choices names the choices of every row already; empty one of the two"
            )
        if self.gold == "number" and not self.choices and not self.choices_field:
            raise InputError(
                "data.gold is 'number', and numbers of no choices: set data.choices or data.choices_field"
            )


class EvaluationSettings(ComparedSettings):
    """How rows are scored."""

    batch_tokens: BatchTokens


class Config(TokenizedConfig):
    """A model as it is, asked to choose."""

    model: QuantizableModelSettings
    adapter: AdapterSection
    data: DataSettings
    mesh: MeshSettings
    evaluation: EvaluationSettings
