"""Seeded bootstrap intervals of a mean and of a paired difference.

Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13 (the percentile interval);
Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation" (paired resampling of test sentences).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from t5x_lite import streams
from t5x_lite.errors import InputError

# Resamples drawn at a time: bounds the memory at about 1000 x clusters x 16 bytes.
_CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How to draw an interval. The same settings and rows give the same interval, bit for bit."""

    resamples: int
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InputError(f"bootstrap resamples must be at least 1, got {self.resamples}")
        if not 0 < self.confidence < 1:
            raise InputError(
                f"bootstrap confidence must lie between 0 and 1 (0.95), got {self.confidence}"
            )


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over rows and its percentile interval [low, high]."""

    mean: float
    low: float
    high: float


def check_finite(values: np.ndarray, what: str = "row") -> None:
    """Refuses a number that is none: it would count as the smallest, the largest or a wrong one, without a word.

    Raises:
      InputError: with the number of the first.
    """
    finite = np.isfinite(values)
    if not finite.all():
        raise InputError(
            f"{what} {int(np.argmin(finite))} has a score that is not finite ({int((~finite).sum())} of"
            f" {len(finite)} have): look at the model that gave it"
        )


def bootstrap_mean(
    values: np.ndarray, bootstrap: Bootstrap, clusters: np.ndarray | None = None
) -> Interval:
    """Percentile interval of the mean of `values` [rows].

    `clusters` [rows] names what was sampled independently: rows that share a dialogue (several references, or several
    samples) are drawn together. Treating them as independent would make the interval too narrow. None: every
    row is its own cluster.

    Raises:
        InputError: no rows, a value that is not finite, or another number of clusters than of values.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"an interval needs a non-empty vector of row scores, got shape {values.shape}"
        )
    check_finite(values)
    if clusters is None:
        sums, sizes = values, np.ones_like(values)
    else:
        if len(clusters) != len(values):
            raise InputError(f"{len(values)} row scores but {len(clusters)} cluster names")
        _, membership = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = np.bincount(membership, values), np.bincount(membership).astype(np.float64)

    rng = streams.generator(bootstrap.seed, "bootstrap")
    means = np.empty(bootstrap.resamples)
    for start in range(0, bootstrap.resamples, _CHUNK):
        stop = min(start + _CHUNK, bootstrap.resamples)
        drawn = rng.integers(len(sums), size=(stop - start, len(sums)))
        means[start:stop] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, bootstrap: Bootstrap, clusters: np.ndarray | None = None
) -> Interval:
    """Interval of mean(ours - theirs), both [rows] on the same rows in the same order.

    Pairing removes the rows' own difficulty, so it tells apart systems whose single intervals overlap.

    Raises:
        InputError: as `bootstrap_mean`, or the two sides differ in length.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise InputError(
            f"a paired difference needs the same rows on both sides, got {ours.shape} and {theirs.shape}"
        )
    return bootstrap_mean(ours - theirs, bootstrap, clusters)
