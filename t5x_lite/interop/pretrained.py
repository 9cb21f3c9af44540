"""A pretrained model in whichever format it lies: t5x's, or Hugging Face's."""

from __future__ import annotations

import os

from t5x_lite.interop.hf import open_hf
from t5x_lite.interop.opened import OpenedModel
from t5x_lite.interop.t5x import is_t5x, open_t5x


def open_pretrained(source: str | os.PathLike[str]) -> OpenedModel:
    """Opens a t5x checkpoint (a file or directory), or else a Hugging Face directory, workdir or hub id.

    Raises:
      InputError: as `open_t5x` and `open_hf`.
    """
    return open_t5x(source) if is_t5x(source) else open_hf(source)
