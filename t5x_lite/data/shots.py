"""Solved examples before each question, drawn from training rows: what few-shot prompts are learned from."""

from __future__ import annotations

from collections.abc import Sequence

from t5x_lite import streams
from t5x_lite.data.groups import text_key
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

    Row i's shots are a function of (seed, i) and of the solved rows. No row is shown its own answer, nor another one to
    its question: rows of its id, or of its question (case and white space aside), are none of its shots.

    Raises:
      InputError: fewer such rows than shots; the message calls the rows `name`.
    """
    if len(solved) <= count:
        raise InputError(f"{name}: {count} shots a prompt need more than {len(solved)} solved rows")
    question, answer = find_template(template), find_template(target)
    texts = [question.render(row) + answer.render(row) + SEPARATOR for row in solved]
    asked = [text_key(row, question.fields) for row in solved]
    shown = []
    for i, row in enumerate(rows):
        own = row["id"], text_key(row, question.fields)
        rng = streams.generator(seed, "shots", i)
        # One more than are shown, for the row itself may be among them; all of them where it is there several times.
        drawn = rng.choice(len(solved), count + 1, replace=False).tolist()
        others = [n for n in drawn if solved[n]["id"] != own[0] and asked[n] != own[1]]
        if len(others) < count:
            rest = [n for n in rng.permutation(len(solved)).tolist() if n not in drawn]
            others += [n for n in rest if solved[n]["id"] != own[0] and asked[n] != own[1]]
        if len(others) < count:
            raise InputError(
                f"{name}: {count} shots a prompt, but only {len(others)} of the {len(solved)} solved rows ask something"
                f" else than row {own[0]}"
            )
        shown.append({**row, SHOTS_FIELD: "".join(texts[n] for n in others[:count])})
    return shown
