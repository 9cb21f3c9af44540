"""Scores of what tells chosen from rejected responses: a reward model, or the implicit rewards of a tuned policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.evaluation.classification import calibration
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, check_finite

# What the axes of a plot of `preference_calibration` are.
PREDICTED = "predicted: sigmoid of the difference of the scores"
OBSERVED = "share of pairs whose higher score is the chosen one's"


def preference_scores(
    chosen: np.ndarray,
    rejected: np.ndarray,
    bootstrap: Bootstrap,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """accuracy (a tie is half right) with its interval, mean margin and score, and whether the labels seem swapped.

    groups: int [pairs], equal for the pairs of one prompt, which the interval draws together; None: each its own.

    Raises:
      InputError: no pairs, or a score that is no number.
    """
    right = _right(chosen, rejected)
    interval = bootstrap_mean(right, bootstrap, groups)
    scores: dict[str, Any] = {
        "pairs": len(right),
        **({} if groups is None else {"prompts": len(np.unique(groups))}),
        "accuracy": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "mean margin": float(np.mean(chosen - rejected)),
        "mean score": float(np.mean(np.concatenate([chosen, rejected]))),
        "std of scores": float(np.std(np.concatenate([chosen, rejected]))),
    }
    if (len(right) if groups is None else scores["prompts"]) < 2:
        scores["warning"] = "one draw alone: its interval says nothing"
    elif interval.high < 0.5:
        log.warning(
            "the model prefers the rejected responses (accuracy %.3f): are the columns `chosen` and `rejected`"
            " swapped?",
            interval.mean,
        )
        scores["warning"] = "prefers the rejected responses; the columns may be swapped"
    elif interval.low < 0.5:
        scores["warning"] = "not told apart from chance"
    return scores


def accuracy_by_kind(
    chosen: np.ndarray,
    rejected: np.ndarray,
    rows: Sequence[Mapping[str, str]],
    bootstrap: Bootstrap,
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """The share of right pairs (a tie is half right) with its interval, for each value of the column "kind"; groups as
    for `preference_scores`.
    """
    kinds = np.array([row["kind"] for row in rows])
    right = _right(chosen, rejected)
    found = []
    for kind in sorted(set(kinds)):
        of_kind = right[kinds == kind]
        together = None if groups is None else groups[kinds == kind]
        interval = bootstrap_mean(of_kind, bootstrap, together)
        found.append(
            {
                "kind": str(kind),
                "pairs": len(of_kind),
                "accuracy": interval.mean,
                "low": interval.low,
                "high": interval.high,
            }
        )
    return found


def preference_calibration(chosen: np.ndarray, rejected: np.ndarray) -> list[dict[str, float]]:
    """How often the response that scores higher is the chosen one, by sigmoid of the difference. A tie predicts a half,
    and is half right, as in the accuracy.
    """
    difference = np.abs(chosen - rejected).astype(np.float64)
    return calibration(1 / (1 + np.exp(-difference)), _right(chosen, rejected))


def _right(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    for scores in (chosen, rejected):
        check_finite(scores, "pair")
    return np.where(chosen == rejected, 0.5, chosen > rejected)
