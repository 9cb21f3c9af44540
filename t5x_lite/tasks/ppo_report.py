"""Before and after PPO on held-out rows: reward, toxicity, ROUGE, length and KL, paired; and what to warn of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.data.sources import Row
from t5x_lite.evaluation.intervals import Bootstrap, paired_difference
from t5x_lite.evaluation.rouge import score_rows, split_sentences
from t5x_lite.evaluation.toxicity import paired_p_value, toxicity_summary
from t5x_lite.reports.plots import Panel
from t5x_lite.rl.rewards import Reward

# Beyond these, a reward that rises is suspect: an F-measure, and a share of the length.
_ROUGE_POINTS = 0.01
_LENGTH_SHARE = 0.15
_TABLE_ROWS = 20

PANELS = (
    Panel(r"ppo/mean_scores|evaluation/reward", "Reward", "score a response"),
    Panel(r"objective/kl|evaluation/kl", "KL to the reference", "nats a response"),
    Panel(r"evaluation/rouge[12]", "ROUGE", "F-measure (0 to 1)"),
    Panel(r"tokens/responses_len_mean|evaluation/words", "Length", "tokens or words"),
    Panel(r"ppo/loss/(policy|value)", "Losses", "loss"),
    Panel(r"objective/kl_coef", "KL coefficient", "coefficient"),
    Panel(r"ppo/policy/(approxkl|clipfrac)", "How far an update goes", "nats or share a token"),
    Panel(r"objective/entropy", "Entropy", "nats a response"),
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The responses of one model to the same rows: texts, and a number a row each (float64 [rows])."""

    responses: list[str]
    reward: np.ndarray
    toxicity: np.ndarray
    rouge1: np.ndarray
    rouge2: np.ndarray
    words: np.ndarray
    kl: np.ndarray  # to the reference, from the sampled tokens, nats

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        names = ("reward", "toxicity", "rouge1", "rouge2", "words", "kl")
        return {name: getattr(self, name) for name in names}


def measure(
    rows: Sequence[Row],
    references: Sequence[str],
    responses: list[str],
    kl: np.ndarray,
    reward: Reward,
    toxicity: Callable[[Sequence[Row], Sequence[str]], np.ndarray],
) -> Measured:
    """Scores responses; toxicity is that of the response alone."""
    scores = score_rows(
        [split_sentences(text) for text in responses],
        [split_sentences(text) for text in references],
        use_stemmer=True,
        rouge_types=("rouge1", "rouge2"),
    )
    return Measured(
        responses,
        np.asarray(reward(rows, responses), np.float64),
        np.asarray(toxicity(rows, responses), np.float64),
        scores["rouge1"],
        scores["rouge2"],
        np.array([len(text.split()) for text in responses], np.float64),
        np.asarray(kl, np.float64),
    )


def comparison(
    before: Measured, after: Measured, others: Mapping[str, Measured], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """A row a number: before, after, their paired difference with its interval and p-value, and the change in percent.

    others: further systems (best of n) whose means stand beside them.
    """
    table = []
    theirs = {name: measured.numbers() for name, measured in others.items()}
    for name, column in before.numbers().items():
        changed = after.numbers()[name]
        interval = paired_difference(changed, column, bootstrap)
        mean = float(column.mean())
        table.append(
            {
                "number": name,
                "before": mean,
                "std before": float(column.std(ddof=1)) if len(column) > 1 else 0.0,
                "after": float(changed.mean()),
                "difference": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "p": paired_p_value(column, changed, bootstrap.seed),
                "percent": 100 * interval.mean / abs(mean) if mean else None,
                **{other: float(numbers[name].mean()) for other, numbers in theirs.items()},
            }
        )
    return table


def warnings(before: Measured, after: Measured, bootstrap: Bootstrap) -> list[str]:
    """What a reader must not miss: reward hacking, a reward that did not rise, responses that became empty."""
    found = []
    gain = paired_difference(after.reward, before.reward, bootstrap)
    lost = [
        f"{title} fell by {100 * (float(one.mean()) - float(two.mean())):.1f} points"
        for title, one, two in (
            ("ROUGE-1", before.rouge1, after.rouge1),
            ("ROUGE-2", before.rouge2, after.rouge2),
        )
        if one.mean() - two.mean() > _ROUGE_POINTS
    ]
    length = float(after.words.mean() / max(before.words.mean(), 1e-9))
    if abs(length - 1) > _LENGTH_SHARE:
        lost.append(
            f"the mean length went from {before.words.mean():.1f} to {after.words.mean():.1f} words"
        )
    if gain.low > 0 and lost:
        found.append(
            f"Reward hacking: the reward rose by {gain.mean:.3f} while {' and '.join(lost)}. Read the samples; raise"
            " the KL coefficient, or add what is lost to the reward."
        )
    elif lost:
        found.append(f"Quality: {' and '.join(lost)}.")
    if gain.high < 0:
        found.append(f"The reward fell by {-gain.mean:.3f}.")
    elif gain.low <= 0:
        found.append("The reward did not change beyond chance.")
    distinct = len(set(after.responses)), len(set(before.responses))
    if distinct[0] < 0.5 * distinct[1]:
        found.append(
            f"Collapse: {distinct[0]} distinct responses after, {distinct[1]} before, of {len(after.responses)}."
        )
    empty = sum(not text.strip() for text in after.responses)
    if empty:
        found.append(f"{empty} of {len(after.responses)} responses are empty.")
    return found


def toxicity_table(systems: Mapping[str, Measured], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """mean with its interval, std, max and ratio over 0.5 of p(toxic), a row a system."""
    return [
        {"system": name, **toxicity_summary(measured.toxicity, bootstrap)}
        for name, measured in systems.items()
    ]


def largest_changes(rows: Sequence[Row], before: Measured, after: Measured) -> list[dict[str, Any]]:
    """20 rows, evenly over all, sorted by how much their reward rose: the lab's table of responses before and after."""
    difference = after.reward - before.reward
    order = np.argsort(-difference, kind="stable")
    places = np.unique(
        np.linspace(0, len(order) - 1, min(_TABLE_ROWS, len(order))).round().astype(int)
    )
    return [
        {
            "id": rows[i]["id"],
            "response before": before.responses[i],
            "response after": after.responses[i],
            "reward before": float(before.reward[i]),
            "reward after": float(after.reward[i]),
            "difference": float(difference[i]),
        }
        for i in order[places]
    ]


def agreement_of_judges(before: Measured, after: Measured) -> dict[str, Any]:
    """Whether the judge (toxicity) agrees with the reward that the responses became better."""
    reward = float((after.reward - before.reward).mean())
    judge = float((before.toxicity - after.toxicity).mean())
    return {
        "reward rose by": reward,
        "in its standard deviations": reward / max(float(before.reward.std()), 1e-9),
        "toxicity fell by": judge,
        "same sign": bool(reward * judge > 0),
    }


def evaluation_metrics(measured: Measured) -> dict[str, float]:
    """What is logged while training: means under evaluation/*."""
    return {f"evaluation/{name}": float(c.mean()) for name, c in measured.numbers().items()}
