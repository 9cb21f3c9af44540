"""Scores made fit to train on: scaled, clipped, with a penalty for responses that never ended; bad ones found out."""

from __future__ import annotations

import numpy as np

from t5x_lite.errors import InputError
from t5x_lite.rl.sections import ScoreSettings


def shape_scores(scores: np.ndarray, ended: np.ndarray, settings: ScoreSettings) -> np.ndarray:
    """float32 [batch] -> float32 [batch]. ended: bool [batch], whether a response has its eos.

    >>> shape_scores(np.array([3.0, -9.0]), np.array([True, False]), ScoreSettings(0.5, 2.0, 1.0))
    array([ 1.5, -3. ], dtype=float32)
    """
    shaped = np.asarray(scores, np.float32) * np.float32(settings.score_scale)
    if settings.score_clip:
        shaped = np.clip(shaped, -settings.score_clip, settings.score_clip)
    penalty = np.where(np.asarray(ended, bool), 0.0, settings.missing_eos_penalty)
    return (shaped - penalty).astype(np.float32)


def usable_scores(scores: np.ndarray, responses: list[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Finds scores that are no numbers: their responses are left out of the step, and the others are kept.

    Returns:
      the scores with 0 in place of what is not finite, float32 [batch]; which are usable, bool [batch]; and what to
      warn of, "" for nothing.

    Raises:
      InputError: another number of scores than of responses, or not one score is finite.
    """
    scores = np.asarray(scores, np.float32)
    if scores.shape != (len(responses),):
        raise InputError(
            f"rewards: expected one score a response, {len(responses)}; got the shape {scores.shape}"
        )
    usable = np.isfinite(scores)
    if not usable.any():
        raise InputError(
            f"rewards: none of the {len(scores)} scores is finite (the first is {scores[0]}, of the response"
            f" {responses[0][:60]!r}); look at the reward model or function"
        )
    warning = ""
    if not usable.all():
        first = int(np.argmin(usable))
        warning = (
            f"{int((~usable).sum())} of {len(scores)} scores are not finite (the first is {scores[first]}, of the"
            f" response {responses[first][:60]!r}); these responses are left out"
        )
    elif len(scores) > 1 and np.ptp(scores) == 0:
        warning = (
            f"all {len(scores)} scores are {scores[0]:g}: this step learns nothing from the reward"
        )
    return np.where(usable, scores, 0.0).astype(np.float32), usable, warning
