"""Rows for evaluation where the data has no such split: a part of the training rows, set aside."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from t5x_lite import streams
from t5x_lite.data.sections import HeldOutSettings
from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError
from t5x_lite.wiring.text import read_rows

HOLDOUT = "holdout"


def read_with_holdout(
    data: HeldOutSettings, seed: int, keep: Callable[[list[Row]], list[Row]] = list
) -> tuple[list[Row], list[Row]]:
    """Training and evaluation rows; `keep` chooses among those that were read, before any is set aside.

    `data.evaluation.source` "holdout" takes the share `data.holdout` of the training rows away from them: drawn by the
    seed (`data.holdout_order` "shuffled"), or the last ones ("last", rounded up, as the labs do). Then
    `data.evaluation.limit` counts what is evaluated of them.

    Raises:
      InputError: as `read_rows`, or a share that leaves nothing on one side.
    """
    rows = keep(read_rows(data.train))
    if data.evaluation.source != HOLDOUT:
        return rows, keep(read_rows(data.evaluation))
    share = data.holdout * len(rows)
    count = math.ceil(share) if data.holdout_order == "last" else round(share)
    if not 0 < count < len(rows):
        raise InputError(
            f"config.data.holdout: {data.holdout} of {len(rows)} training rows leaves none on one side"
        )
    order = np.arange(len(rows))
    if data.holdout_order == "shuffled":
        order = streams.generator(seed, "holdout").permutation(len(rows))
    train, evaluation = np.sort(order[:-count]), np.sort(order[-count:])
    limit = data.evaluation.limit or count
    return [rows[i] for i in train], [rows[i] for i in evaluation[:limit]]
