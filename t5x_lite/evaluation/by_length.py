"""How well a classifier tells short texts apart, and long ones: its area under the curve by words of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.evaluation.classification import auc_interval
from t5x_lite.evaluation.intervals import Bootstrap

# The fewest words of each class of lengths; the next one's is one above its most.
_FEWEST = (0, 3, 21, 51, 101, 201, 501)


def words_of(texts: Sequence[str]) -> np.ndarray:
    """int [texts]: how many words each has, parted by white space."""
    return np.array([len(text.split()) for text in texts], int)


def length_range(texts: Sequence[str]) -> dict[str, Any]:
    """How long the texts are, for a report of what was tried: fewest, median and most words."""
    words = words_of(texts)
    return {
        "fewest words": int(words.min()),
        "median words": float(np.median(words)),
        "most words": int(words.max()),
    }


def by_length(
    scores: np.ndarray,
    positive: np.ndarray,
    texts: Sequence[str],
    bootstrap: Bootstrap,
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """A row a class of lengths that has any text: words, rows, positive, auc, low and high.

    scores, positive: float and bool [texts]. groups: as for `auc_interval`. Where all texts of a length are of one
    class, there is no curve, and the three are None.
    """
    words = words_of(texts)
    scores, positive = np.asarray(scores), np.asarray(positive, bool)
    rows = []
    for number, fewest in enumerate(_FEWEST):
        last = number + 1 == len(_FEWEST)
        most = int(words.max(initial=0)) if last else _FEWEST[number + 1] - 1
        chosen = (words >= fewest) & (words <= most)
        if not chosen.any():
            continue
        count = int(positive[chosen].sum())
        row: dict[str, Any] = {
            "words": f"over {fewest - 1}" if last else f"{fewest} to {most}",
            "rows": int(chosen.sum()),
            "positive": count,
            "auc": None,
            "low": None,
            "high": None,
        }
        if 0 < count < chosen.sum():
            together = None if groups is None else groups[chosen]
            found = auc_interval(scores[chosen], positive[chosen], bootstrap, together)
            row |= {"auc": found.mean, "low": found.low, "high": found.high}
        rows.append(row)
    return rows
