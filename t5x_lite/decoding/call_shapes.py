"""Calls of any size in few shapes: a notebook's prompts, padded so that not every call compiles."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from t5x_lite.decoding.settings import PER_ROW, GenerationSettings

LENGTH_STEP = 64  # tokens


class Call(NamedTuple):
    """What to give to `Generator.generate`; the first rows of its output are those asked for."""

    encoder_input_tokens: np.ndarray  # int32 [batch, length], both of few sizes
    settings: GenerationSettings
    row_ids: np.ndarray  # int32 [batch]


def bucket(count: int, step: int = 1) -> int:
    """The smallest size from `count` on among `step` times 1, 2, 3, 4, 6, 8, 12, 16, 24, ...

    >>> [bucket(n) for n in (1, 3, 5, 9, 13)], bucket(65, 64), bucket(300, 64)
    ([1, 3, 6, 12, 16], 128, 384)
    """
    size = step
    while size < count:
        size *= 2
    smaller = size * 3 // 4
    return smaller if smaller >= count and smaller % step == 0 else size


def pad_call(encoder_input_tokens: np.ndarray, settings: GenerationSettings, pad: int) -> Call:
    """Pads rows and length to buckets.

    The rows that fill up repeat the first one with its settings and its id, so that they end when it does: a row of
    pads might go on to the last token, and the whole batch with it.

    Args:
      encoder_input_tokens: int [batch, length], at least one row. pad: the token that is none.
      settings: whose arrays have one value a row (`structure.prepare` has checked them).
    """
    batch, length = encoder_input_tokens.shape
    rows = np.arange(bucket(batch))
    rows[batch:] = 0
    extra = bucket(length, LENGTH_STEP) - length
    tokens = np.pad(encoder_input_tokens, ((0, 0), (0, extra)), constant_values=pad)[rows]
    given = {name: getattr(settings, name) for name in PER_ROW}
    arrays: dict[str, Any] = {
        name: np.asarray(value)[rows] for name, value in given.items() if np.ndim(value) == 1
    }
    return Call(tokens.astype(np.int32), dataclasses.replace(settings, **arrays), rows)
