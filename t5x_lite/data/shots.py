"""Solved examples before each question, drawn from the rows themselves: what few-shot prompts are learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError

SHOTS_FIELD = "shots"
# Between solved examples, as in FLAN (Wei et al. 2022) and `prompts.FewShot`.
SEPARATOR = "\n\n\n"


def with_shots(
    rows: Sequence[Row], count: int, *, template: str, target: str, seed: int, name: str
) -> list[Row]:
    """The rows with a field "shots": `count` other rows of them, each asked by `template` and answered by `target`.

    Row i's shots are a function of (seed, i) and of the number of rows. `count` 0 gives an empty field.

    Raises:
      InputError: not more rows than shots; the message calls the rows `name`.
    """
    if count and len(rows) <= count:
        raise InputError(f"{name}: {count} shots a prompt need more than {len(rows)} rows")
    question, answer = find_template(template), find_template(target)
    solved = [question.render(row) + answer.render(row) + SEPARATOR for row in rows if count]
    shown = []
    for i, row in enumerate(rows):
        rng = np.random.default_rng((seed, i))
        others = rng.choice(len(rows) - 1, count, replace=False) if count else ()
        text = "".join(solved[other + (other >= i)] for other in others)
        shown.append({**row, SHOTS_FIELD: text})
    return shown
