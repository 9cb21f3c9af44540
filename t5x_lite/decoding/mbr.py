"""Minimum-Bayes-risk decoding: of several candidates, the one that agrees best with all of them.

Sources: Eikema & Aziz 2020 (arXiv:2005.10283), samples as candidates and as references; Freitag et al. 2022
(arXiv:2111.09388), the same with other utilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Utility = Callable[[str, str], float]  # (candidate, reference) -> how good, more is better


def expected_utilities(
    candidates: Sequence[str], utility: Utility, *, symmetric: bool = False
) -> np.ndarray:
    """Each candidate's mean utility against all candidates, itself among them: float64 [candidates].

    Candidates should be drawn from the model (a sample's frequency is its weight); repeated texts are scored once.
    `symmetric` says that utility(a, b) = utility(b, a), as for any F-measure, and halves the calls.

    >>> expected_utilities(["a b", "a b", "c"], lambda a, b: float(a == b))
    array([0.66666667, 0.66666667, 0.33333333])
    """
    texts = list(dict.fromkeys(candidates))
    counts = np.array([candidates.count(text) for text in texts], np.float64)
    table = np.zeros((len(texts), len(texts)))
    for i, candidate in enumerate(texts):
        for j, reference in enumerate(texts):
            table[i, j] = table[j, i] if symmetric and j < i else utility(candidate, reference)
    means = dict(zip(texts, table @ counts / len(candidates), strict=True))
    return np.array([means[text] for text in candidates])


def choose(candidates: Sequence[str], utility: Utility, *, symmetric: bool = False) -> int:
    """The index of the candidate with the greatest expected utility, the first one if several have it.

    Raises:
      ValueError: no candidates.

    >>> choose(["the cat sat", "dogs run", "a cat sat"], lambda a, b: len(set(a.split()) & set(b.split())))
    0
    """
    if not candidates:
        raise ValueError("minimum-Bayes-risk decoding needs at least one candidate")
    return int(np.argmax(expected_utilities(candidates, utility, symmetric=symmetric)))
