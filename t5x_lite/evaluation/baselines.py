"""What a summarizer's score must beat before it counts as learning: outputs that need no model, or ignore the input.

ROUGE rewards form. On DialogSum the first three turns, or one constant text, score half of what a good summarizer does;
a model may gain that much by learning the corpus's phrases alone. The third opponent is therefore the model itself
with its outputs handed to other dialogues: what is left above it was read from the dialogue.
The best constant text is searched in `constants.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5x_lite import streams
from t5x_lite.errors import InputError
from t5x_lite.evaluation import rouge


def lead(text: str, count: int) -> str:
    """The first `count` non-empty lines (turns of a dialogue); of a text on a single line, its first `count` sentences.

    >>> lead("A: Hi.\\nB: Hello.\\nA: Bye.", 2)
    'A: Hi.\\nB: Hello.'
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1:
        lines = rouge.split_sentences(lines[0]).splitlines()
        return " ".join(lines[:count])
    return "\n".join(lines[:count])


def group_by_input(inputs: Sequence[str]) -> np.ndarray:
    """Group number of every row, int64 [rows]: rows with the same input text share one, numbered by first occurrence.

    >>> group_by_input(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in inputs], np.int64)


def shuffled(predictions: Sequence[str], groups: np.ndarray, seed: int) -> list[str]:
    """The same outputs, each row given one that was made for another group: a seeded derangement of the groups.

    Groups stand in a seeded random order, and each takes the outputs of the next one in it; rows of a group take that
    group's outputs in turn. No row can meet an output of its own dialogue.

    Raises:
        InputError: fewer than two groups.
    """
    groups = np.asarray(groups)
    if len(predictions) != len(groups):
        raise InputError(f"{len(predictions)} predictions but {len(groups)} group numbers")
    names = np.unique(groups)
    if len(names) < 2:
        raise InputError("the shuffled baseline needs outputs for at least two different inputs")
    order = streams.generator(seed, "shuffled_baseline").permutation(names)
    donors = dict(zip(order, np.roll(order, -1), strict=True))
    members = {name: np.flatnonzero(groups == name) for name in names}
    result = [""] * len(predictions)
    for name in names:
        given = members[donors[name]]
        for position, row in enumerate(members[name]):
            result[row] = predictions[given[position % len(given)]]
    return result
