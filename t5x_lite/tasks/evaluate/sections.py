"""What the task `evaluate` reads of a config."""

from __future__ import annotations

from t5x_lite.data.sections import References, RowsSettings, TextsSettings
from t5x_lite.evaluation.sections import ScoredSettings
from t5x_lite.params.sections import AdapterSection
from t5x_lite.wiring.sections import ScoringConfig


class DataSettings(TextsSettings):
    """Rows to be scored on, or without references to be answered."""

    target: References
    evaluation: RowsSettings


class Config(ScoringConfig):
    """A model as it is, scored."""

    adapter: AdapterSection
    data: DataSettings
    evaluation: ScoredSettings
