"""Rank classification: the answer is the choice that the model finds likeliest.

Source: Brown et al. 2020 (arXiv:2005.14165), section 2.4; as T0 (Sanh et al. 2021, arXiv:2110.08207) and FLAN (Wei et
al. 2021, arXiv:2109.01652) evaluate classification and multiple choice.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.evaluation.choice_scores import ChoiceScores
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference

# How a choice's tokens make its score: their log-probabilities summed, which favours short choices, or their mean.
SUM, MEAN = "sum", "mean"


def chosen(scores: Sequence[ChoiceScores], by: str) -> np.ndarray:
    """int64 [rows]: the number of the choice with the largest score; of equal ones the first.

    by: SUM or MEAN.
    """
    return np.array(
        [np.argmax(each.logprobs if by == SUM else each.logprobs / each.tokens) for each in scores],
        np.int64,
    )


def rank_scores(
    scores: Sequence[ChoiceScores],
    gold: np.ndarray,
    answers: Sequence[str],
    bootstrap: Bootstrap,
    groups: np.ndarray,
) -> dict[str, Any]:
    """How often the right choice is chosen, beside always giving the most frequent answer, and guessing.

    Args:
      gold: int [rows], the number of the right choice. answers: what each row's right answer is called.
      groups: int [rows], equal for rows that are drawn together.

    Returns:
      JSON-ready, an interval being {"mean", "low", "high"}:
        rows; groups, if fewer; choices: {"least", "most"} of a row
        accuracy: {"sum": interval, "mean": interval};  differences: the same, minus the majority's, paired by row
        majority: {"answer", "accuracy"};  chance: what guessing gives
        gold: {"logprob": mean over rows of the right choice's sum, nats; "probability": mean of its share among the
          choices of the row}

    Raises:
      InputError: no rows.
    """
    right = {by: (chosen(scores, by) == gold).astype(np.float64) for by in (SUM, MEAN)}
    answer, _ = Counter(answers).most_common(1)[0]
    always = np.array([each == answer for each in answers], np.float64)
    counts = [len(each.logprobs) for each in scores]
    own = [float(each.logprobs[number]) for each, number in zip(scores, gold, strict=True)]
    shares = [
        np.exp(value - np.logaddexp.reduce(each.logprobs))
        for value, each in zip(own, scores, strict=True)
    ]
    drawn = len(np.unique(groups))
    return {
        "rows": len(scores),
        **({"groups": drawn} if drawn < len(scores) else {}),
        "choices": {"least": min(counts), "most": max(counts)},
        "accuracy": {
            by: dataclasses.asdict(bootstrap_mean(each, bootstrap, groups))
            for by, each in right.items()
        },
        "differences": {
            by: dataclasses.asdict(paired_difference(each, always, bootstrap, groups))
            for by, each in right.items()
        },
        "majority": {"answer": answer, "accuracy": float(always.mean())},
        "chance": float(np.mean([1 / count for count in counts])),
        "gold": {"logprob": float(np.mean(own)), "probability": float(np.mean(shares))},
    }
