"""A pretrained model in whichever format it lies: t5x's, or Hugging Face's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import open_hf
from t5x_lite.interop.opened import OpenedModel
from t5x_lite.interop.t5x import is_t5x, open_t5x


def open_pretrained(
    source: str | os.PathLike[str], architecture: Mapping[str, Any] | None = None
) -> OpenedModel:
    """Opens a t5x checkpoint (a file or directory), or else a Hugging Face directory, workdir or hub id.

    architecture: what a t5x checkpoint does not say; see `open_t5x`.

    Raises:
      InputError: as `open_t5x` and `open_hf`; an architecture for a model whose config.json says it.
    """
    if is_t5x(source):
        return open_t5x(source, architecture)
    if architecture:
        raise InputError(
            f"{source}: architecture is for t5x checkpoints; this model's is in its config.json: edit that"
        )
    return open_hf(source)
