"""What is logged of a step before its updates: distances, scores and lengths, under the keys of docs/architecture.md.

Standard deviations are unbiased (n - 1), and 0 of a single number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# What is logged as it is, a value a sequence or token: distributions.jsonl. All else is a number in metrics.jsonl.
DISTRIBUTIONS = (
    "objective/kl_dist",
    "objective/logprobs",
    "objective/ref_logprobs",
    "ppo/policy/advantages",
    "tokens/queries_dist",
    "tokens/responses_dist",
    "env/reward_dist",
)


def rollout_statistics(
    *,
    logprobs: np.ndarray,
    ref_logprobs: np.ndarray,
    non_score_rewards: np.ndarray,
    mask: np.ndarray,
    scores: np.ndarray,
    query_lengths: np.ndarray,
    response_lengths: np.ndarray,
    kl_coef: float,
) -> dict[str, Any]:
    """objective/*, ppo/mean_*, ppo/std_scores, tokens/* and env/* of a rollout.

    Args:
      logprobs, ref_logprobs, non_score_rewards, mask: [batch, length].
      scores: [batch], as shaped for training.
      query_lengths, response_lengths: whole numbers [batch].

    objective/kl is the mean over sequences of their summed k1; objective/entropy likewise of -log-probability (an
    estimate from the sampled tokens; ppo/policy/entropy is exact).
    """
    counts = mask > 0
    kl = np.where(counts, logprobs - ref_logprobs, 0.0).sum(axis=1, dtype=np.float64)
    surprise = np.where(counts, -logprobs, 0.0).sum(axis=1, dtype=np.float64)
    penalties = non_score_rewards[counts]
    result: dict[str, Any] = {
        "objective/kl": kl.mean(),
        "objective/kl_dist": kl,
        "objective/logprobs": logprobs[counts],
        "objective/ref_logprobs": ref_logprobs[counts],
        "objective/kl_coef": kl_coef,
        "objective/entropy": surprise.mean(),
        "ppo/mean_non_score_reward": penalties.mean(dtype=np.float64) if len(penalties) else 0.0,
        "ppo/mean_scores": scores.mean(dtype=np.float64),
        "ppo/std_scores": _std(scores),
        "env/reward_mean": scores.mean(dtype=np.float64),
        "env/reward_std": _std(scores),
        "env/reward_dist": scores,
    }
    for name, lengths in (("queries", query_lengths), ("responses", response_lengths)):
        result[f"tokens/{name}_len_mean"] = lengths.mean(dtype=np.float64)
        result[f"tokens/{name}_len_std"] = _std(lengths)
        result[f"tokens/{name}_dist"] = lengths
    return result


def split_distributions(statistics: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers, and the distributions."""
    numbers = {k: float(v) for k, v in statistics.items() if k not in DISTRIBUTIONS}
    return numbers, {k: v for k, v in statistics.items() if k in DISTRIBUTIONS}


def _std(values: np.ndarray) -> float:
    return float(np.std(values.astype(np.float64), ddof=1)) if len(values) > 1 else 0.0
