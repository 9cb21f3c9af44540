"""Rows for evaluation where the data has no such split: a part of the training rows, set aside by what was drawn
independently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from t5x_lite import streams
from t5x_lite.data.groups import group_numbers, prompt_fields
from t5x_lite.data.sections import HeldOutSettings
from t5x_lite.data.sources import Row, told_of_shared_rows, warn_of_shared_rows
from t5x_lite.errors import InputError
from t5x_lite.reports.report import WARNINGS
from t5x_lite.wiring.rehearsal import note
from t5x_lite.wiring.text import read_rows

HOLDOUT = "holdout"


def read_with_holdout(
    data: HeldOutSettings, seed: int, keep: Callable[[list[Row]], list[Row]] = list
) -> tuple[list[Row], list[Row]]:
    """Training and evaluation rows; `keep` chooses among those that were read, before any is set aside.

    `data.evaluation.source` "holdout" takes the share `data.holdout` of the training rows away from them: drawn by the
    seed (`data.holdout_order` "shuffled"), all rows of a group (`row_groups`) together, or the last ones ("last",
    rounded up, as the labs do). Then `data.evaluation.limit` counts what is evaluated of them. Groups that are on both
    sides are warned of.

    Raises:
      InputError: as `read_rows`, a share that leaves nothing on one side, or ids to leave out of what is set aside.
    """
    rows = keep(read_rows(data.train, "train"))
    if data.evaluation.source != HOLDOUT:
        evaluation_rows = keep(read_rows(data.evaluation, "evaluation"))
        warn_of_shared_rows(evaluation_rows, rows, group_fields(data))
        return rows, evaluation_rows
    if data.evaluation.exclude:
        raise InputError(
            f"config.data.evaluation.exclude does nothing with config.data.evaluation.source {HOLDOUT!r}: the rows set"
            " aside are training rows; list them in config.data.train.exclude"
        )
    share = data.holdout * len(rows)
    count = math.ceil(share) if data.holdout_order == "last" else round(share)
    if data.holdout_order == "last":
        held_out = np.arange(len(rows)) >= len(rows) - count
    else:
        held_out = drawn_groups(row_groups(data, rows), count, seed)
    train, evaluation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(evaluation):
        groups = len(set(row_groups(data, rows).tolist()))
        raise InputError(
            f"config.data.holdout: {data.holdout} of {len(rows)} training rows ({groups} groups of one"
            f" {' and '.join(group_fields(data)) or 'row'}) leaves none on one side"
        )
    note("rows, evaluation", f"{len(evaluation):,} of them, held out")
    limit = data.evaluation.limit or len(evaluation)
    train_rows, evaluation_rows = ([rows[i] for i in side] for side in (train, evaluation[:limit]))
    warn_of_shared_rows(evaluation_rows, train_rows, group_fields(data))
    return train_rows, evaluation_rows


def sections_read(data: HeldOutSettings) -> tuple[str, ...]:
    """The sections below `data` whose rows are read: what is set aside has the columns of the training rows."""
    return ("train",) if data.evaluation.source == HOLDOUT else ("train", "evaluation")


def warnings_section(
    data: HeldOutSettings, train_rows: Sequence[Row], evaluation_rows: Sequence[Row]
) -> dict[str, list[str]]:
    """What a reader of the report's scores must know of the rows, as its section of warnings; {}: nothing."""
    told = told_of_shared_rows(evaluation_rows, train_rows, group_fields(data))
    return {WARNINGS: [told]} if told else {}


def group_fields(data: HeldOutSettings) -> Sequence[str]:
    """The fields that say which rows belong together, where no column "group" does: the text that may be cut, or the
    prompt of a reward model's template, or a classifier's text.
    """
    if hasattr(data, "cut_field"):
        return (data.cut_field,)
    if hasattr(data, "template"):
        return prompt_fields(data.template)
    return ("text",)


def row_groups(data: HeldOutSettings, rows: Sequence[Row]) -> np.ndarray:
    """int64 [rows]: equal for rows that were drawn together (`group_fields`)."""
    return group_numbers(rows, group_fields(data))


def drawn_groups(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """bool [rows]: whole groups in a seeded order, until they have at least `count` rows.

    Where each row is a group, these are the last `count` rows of a permutation of them, of the stream "holdout".
    """
    names, sizes = np.unique(groups, return_counts=True)
    order = streams.generator(seed, "holdout").permutation(len(names))[::-1]
    enough = int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1 if count > 0 else 0
    return np.isin(groups, names[order[:enough]])
