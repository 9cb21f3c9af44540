"""Seeded bootstrap intervals of a mean and of a paired difference.

Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13 (the percentile interval);
Koehn (2004), "Statistical Significance Tests for Machine Translation Evaluation" (paired resampling of test sentences).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

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
    """A mean over rows (or a score of the corpus) and its percentile interval [low, high]."""

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
        membership = _membership(len(values), clusters)
        sums, sizes = np.bincount(membership, values), np.bincount(membership).astype(np.float64)
    means = np.concatenate(
        [
            sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
            for drawn in _draws(len(sums), bootstrap)
        ]
    )
    return percentile_interval(float(values.mean()), means, bootstrap)


def resampled_totals(
    statistics: np.ndarray, bootstrap: Bootstrap, clusters: np.ndarray | None = None
) -> np.ndarray:
    """Of each resample the sums over its rows, float64 [resamples, statistics], of `statistics` [rows, statistics].

    For scores of a corpus that are a function of such sums (BLEU), and no mean of the rows' scores. The resamples are
    those of `bootstrap_mean`, the same for every array of as many clusters, so that differences are paired.

    clusters: as `bootstrap_mean` takes them.

    Raises:
        InputError: no rows, or another number of clusters than of rows.
    """
    if not len(statistics):
        raise InputError("an interval needs at least one row")
    if clusters is None:
        clusters = np.arange(len(statistics))
    membership = _membership(len(statistics), clusters)
    independent = int(membership.max()) + 1
    sums = np.zeros((independent, statistics.shape[1]))
    np.add.at(sums, membership, statistics)
    totals = []
    for drawn in _draws(independent, bootstrap):
        # How often each cluster was drawn, [resamples, clusters]: the drawn sums themselves would take gigabytes.
        places = drawn + np.arange(len(drawn))[:, None] * independent
        times = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        totals.append(times.astype(np.float64) @ sums)
    return np.concatenate(totals)


def percentile_interval(value: float, resampled: np.ndarray, bootstrap: Bootstrap) -> Interval:
    """A value with the percentile interval of what its resamples gave, [resamples]."""
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _membership(rows: int, clusters: np.ndarray) -> np.ndarray:
    """int [rows]: the number of each row's cluster."""
    if len(clusters) != rows:
        raise InputError(f"{rows} row scores but {len(clusters)} cluster names")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _draws(independent: int, bootstrap: Bootstrap) -> Iterator[np.ndarray]:
    """The resamples, some at a time: which clusters each has, int [resamples, clusters]."""
    rng = streams.generator(bootstrap.seed, "bootstrap")
    for start in range(0, bootstrap.resamples, _CHUNK):
        stop = min(start + _CHUNK, bootstrap.resamples)
        yield rng.integers(independent, size=(stop - start, independent))


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
