"""Solved examples before each question, drawn from training rows: what few-shot prompts are learned from."""

from __future__ import annotations

from collections.abc import Sequence

from t5x_lite import streams
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError

SHOTS_FIELD = "shots"
# Between solved examples, as in FLAN (Wei et al. 2022) and `prompts.FewShot`.
SEPARATOR = "\n\n\n"


def with_shots(
    rows: Sequence[Row],
    solved: Sequence[Row],
    count: int,
    *,
    template: str,
    target: str,
    seed: int,
    name: str,
) -> list[Row]:
    """The rows with a field "shots": `count` of the `solved` rows, each asked by `template` and answered by `target`.

    Row i's shots are a function of (seed, i) and of the solved rows. No row (by its id) is shown its own answer.

    Raises:
      InputError: not more solved rows than shots; the message calls the rows `name`.
    """
    if len(solved) <= count:
        raise InputError(f"{name}: {count} shots a prompt need more than {len(solved)} solved rows")
    question, answer = find_template(template), find_template(target)
    texts = [question.render(row) + answer.render(row) + SEPARATOR for row in solved]
    shown = []
    for i, row in enumerate(rows):
        # One more than are shown, for the row itself may be among them.
        drawn = streams.generator(seed, "shots", i).choice(len(solved), count + 1, replace=False)
        others = [n for n in drawn if solved[n]["id"] != row["id"]][:count]
        shown.append({**row, SHOTS_FIELD: "".join(texts[n] for n in others)})
    return shown
