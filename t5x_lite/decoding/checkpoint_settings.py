"""The generation settings of a checkpoint: one reading, wherever it decodes."""

from __future__ import annotations

import os

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.interop.generation_files import generation_defaults


def checkpoint_settings(source: str | os.PathLike[str]) -> GenerationSettings:
    """What `generate` does by default with the model that `source` names: as transformers reads its files.

    Raises:
      InputError: as `generation_defaults` and `GenerationSettings.of_file`.
    """
    fields, where = generation_defaults(source)
    return GenerationSettings.of_file(fields, where) if fields else GenerationSettings()
