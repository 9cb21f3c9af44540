"""What the task `prompt` reads of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from t5x_lite import sections
from t5x_lite.data.prompts import PromptSection
from t5x_lite.data.sections import (
    CutField,
    EncoderLength,
    RowsSettings,
    TargetTemplate,
)
from t5x_lite.evaluation.sections import BatchTokens, BesideRougeSettings, BootstrapSettings
from t5x_lite.models.sections import QuantizableModelSettings
from t5x_lite.parallel.sections import MeshSettings
from t5x_lite.sections import Expected, Published, RowNumbers, Section
from t5x_lite.wiring.sections import Overrides, TokenizedConfig

Runs = Annotated[
    tuple[tuple[str, str], ...],
    Expected("a tuple of pairs (name of a prompt, name of settings)"),
]


class DataSettings(Section):
    """Rows to ask about, and rows that are shown solved."""

    evaluation: RowsSettings
    shots: RowsSettings
    target: TargetTemplate
    encoder_length: EncoderLength
    truncation: Annotated[
        Literal["none", "error", "end", "middle", "oldest_turns"],
        "What becomes of a prompt that is too long: nothing, refused, or where its row's text is cut.",
    ]
    cut_field: CutField


class SideBySideSettings(Section):
    """A table of a few rows."""

    rows: Annotated[RowNumbers, "Which rows."]
    runs: Annotated[Runs, "What is decoded for these rows alone."]


class EvaluationSettings(BootstrapSettings, BesideRougeSettings):
    """How it is decoded and scored."""

    batch_tokens: BatchTokens
    with_scores: Annotated[
        bool,
        "Whether files of predictions have log-probabilities; costs two passes over the vocabulary a token.",
    ]


class Config(TokenizedConfig):
    """A model as it is, prompted."""

    model: QuantizableModelSettings
    data: DataSettings
    prompts: Annotated[Mapping[str, PromptSection], "Prompts by name."]
    settings: Annotated[Mapping[str, Overrides], "Decoding settings by name."]
    runs: Annotated[Runs, "What is decoded for every row and scored."]
    side_by_side: SideBySideSettings
    round_trip: Annotated[str, "A text that is encoded and decoded again for the report."]
    mesh: MeshSettings
    evaluation: EvaluationSettings
    published: Published

    FREE: ClassVar[tuple[str, ...]] = (*sections.Config.FREE, "published")
