"""How well a search finds what belongs to each query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def retrieval_scores(
    similarities: np.ndarray, relevant: Sequence[int], depths: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recall at several depths, and the mean reciprocal rank.

    Args:
      similarities: float [queries, passages], the larger the better.
      relevant: which passage belongs to each query.
      depths: how many of the best passages are looked at.

    Returns:
      {"recall@1": share of the queries whose passage is the best, ..., "mrr": mean of 1 / rank}. A passage that ties
      with others stands behind them.

    >>> retrieval_scores(np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4]]), [0, 1], depths=(1, 2))
    {'recall@1': 0.5, 'recall@2': 1.0, 'mrr': 0.75}
    """
    own = similarities[np.arange(len(relevant)), np.asarray(relevant)]
    ranks = np.sum(similarities >= own[:, None], axis=1)
    shares = {f"recall@{depth}": float(np.mean(ranks <= depth)) for depth in depths}
    return shares | {"mrr": float(np.mean(1 / ranks))}
