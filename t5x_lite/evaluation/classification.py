"""Scores of classifiers and of preference models: accuracy, area under the curve, calibration."""

from __future__ import annotations

import numpy as np

from t5x_lite import streams
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap, Interval, check_finite


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75

    Raises:
      InputError: rows of one class alone, of which there is no curve, or a score that is no number.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    check_finite(scores)
    if positive.all() or not positive.any():
        raise InputError("AUC needs rows of both classes; the evaluation rows have one alone")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # ties share the mean of their ranks
    above = int(positive.sum())
    return float(
        (ranks[positive].sum() - above * (above + 1) / 2) / (above * (len(scores) - above))
    )


def auc_interval(
    scores: np.ndarray,
    positive: np.ndarray,
    bootstrap: Bootstrap,
    groups: np.ndarray | None = None,
) -> Interval:
    """`auc` and its percentile interval; rows are drawn with their classes, and a draw of one class alone is left out.

    groups: [rows], equal for rows that are drawn together (texts of one person, say); None: each row its own.

    Raises:
      InputError: as `auc`.
    """
    found = auc(scores, positive)
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    order = np.argsort(scores, kind="stable")
    positive = positive[order]
    group = np.arange(len(order))
    if groups is not None:
        # Numbered as they come in the order: where each row is a group, this is the interval without groups.
        _, first, group = np.unique(
            np.asarray(groups)[order], return_index=True, return_inverse=True
        )
        group = np.argsort(np.argsort(first))[group]
    independent = int(group.max()) + 1
    # Of each run of equal scores, where it begins in the order.
    begins = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    rng = streams.generator(bootstrap.seed, "bootstrap")
    drawn = np.full(bootstrap.resamples, np.nan)
    for number in range(bootstrap.resamples):
        chosen = rng.integers(independent, size=independent)
        counts = np.bincount(chosen, minlength=independent)[group]
        above = np.add.reduceat(counts * positive, begins).astype(np.float64)
        below = np.add.reduceat(counts * ~positive, begins).astype(np.float64)
        pairs = above.sum() * below.sum()
        if pairs:
            drawn[number] = (above * (np.cumsum(below) - below / 2)).sum() / pairs
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(found, float(low), float(high))


def calibration(
    probabilities: np.ndarray, outcomes: np.ndarray, bins: int = 10
) -> list[dict[str, float]]:
    """How often what was predicted with a probability came true, by tenths of the probability.

    Returns:
      a row a bin that has any: low, high (of the bin), rows, predicted and observed (means).

    Raises:
      InputError: a probability that is no number.
    """
    probabilities = np.asarray(probabilities, np.float64)
    check_finite(probabilities)
    outcomes = np.asarray(outcomes, np.float64)
    number = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "rows": int((number == b).sum()),
            "predicted": float(probabilities[number == b].mean()),
            "observed": float(outcomes[number == b].mean()),
        }
        for b in range(bins)
        if (number == b).any()
    ]
