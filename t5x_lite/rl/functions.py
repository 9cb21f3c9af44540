"""Reward functions that ship: `function(rows, responses, **arguments)` -> one number a response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError
from t5x_lite.evaluation.rouge import ROUGE_TYPES, score_rows, split_sentences


def rouge(
    rows: Sequence[Row], responses: Sequence[str], *, reference: str, kind: str
) -> np.ndarray:
    """ROUGE F-measure against a column of the row ("summary"); kind: "rouge1", "rouge2", "rougeL" or "rougeLsum".

    Raises:
      InputError: another kind, or a column that the rows do not have.
    """
    if kind not in ROUGE_TYPES:
        raise InputError(
            f"the reward rouge: its argument kind must be one of {', '.join(ROUGE_TYPES)}, got {kind!r}"
        )
    missing = next((row for row in rows if reference not in row), None)
    if missing is not None:
        raise InputError(
            f"the reward rouge: its argument reference is {reference!r}, and the rows have"
            f" {', '.join(sorted(missing))}"
        )
    scores = score_rows(
        [split_sentences(text) for text in responses],
        [split_sentences(row[reference]) for row in rows],
        use_stemmer=True,
        rouge_types=(kind,),
    )
    return scores[kind].astype(np.float32)


def length(rows: Sequence[Row], responses: Sequence[str], *, words: int) -> np.ndarray:
    """Minus the distance to a number of words, as a share of it: 0 at best.

    Raises:
      InputError: a share of no words.
    """
    if not isinstance(words, int | float) or words < 1:
        raise InputError(
            f"the reward length: its argument words must be a whole number >= 1, got {words!r}"
        )
    counts = np.array([len(text.split()) for text in responses], np.float32)
    return -np.abs(counts - words) / np.float32(words)


def keywords(rows: Sequence[Row], responses: Sequence[str], *, words: Sequence[str]) -> np.ndarray:
    """The share of the words (case aside) that a response holds.

    Raises:
      InputError: no words, or one string, of which each letter would be one.
    """
    if isinstance(words, str) or not words or not all(isinstance(word, str) for word in words):
        raise InputError(
            f"the reward keywords: its argument words must be a list of words, got {words!r}"
        )
    wanted = [word.casefold() for word in words]
    found = [sum(word in text.casefold() for word in wanted) for text in responses]
    return np.array(found, np.float32) / np.float32(len(wanted))
