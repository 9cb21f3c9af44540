"""What the task `chat` reads of a config."""

from __future__ import annotations

from typing import ClassVar

from t5x_lite import sections
from t5x_lite.data.sections import AskedTextsSettings, AskedTokenizerSettings
from t5x_lite.models.sections import LoadedModelSettings
from t5x_lite.wiring.sections import Overrides


class Config(sections.Config):
    """A conversation."""

    model: LoadedModelSettings
    tokenizer: AskedTokenizerSettings
    data: AskedTextsSettings
    generation: Overrides

    # The folder holds conversations with any model: each line of the transcript says what it was answered by.
    FREE: ClassVar[tuple[str, ...]] = ("seed", "model", "tokenizer", "data", "generation")
