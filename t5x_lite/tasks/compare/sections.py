"""What the task `compare` reads of a config."""

from __future__ import annotations

from typing import Annotated

from t5x_lite import sections
from t5x_lite.evaluation.sections import ComparedSettings


class Config(sections.Config):
    """Runs side by side."""

    runs: Annotated[sections.Pairs, "The runs, each with the name that the report gives it."]
    evaluation: ComparedSettings
