"""Before and after PPO on held-out rows: reward, toxicity, ROUGE, length and KL, paired; and what to warn of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap, paired_difference
from t5x_lite.evaluation.rouge import score_rows, split_sentences
from t5x_lite.evaluation.toxicity import paired_p_value, toxicity_summary
from t5x_lite.parallel.sharing import share_out_columns
from t5x_lite.reports.plots import Panel
from t5x_lite.rl.rewards import Reward
from t5x_lite.tasks.ppo.rewards import Judge

# Beyond these, a reward that rises is suspect: an F-measure, and a share of the length.
_ROUGE_POINTS = 0.01
_LENGTH_SHARE = 0.15
_TABLE_ROWS = 20
# Of `Measured`, in the order of its tables; None where there is no reference.
_NUMBERS = ("reward", "toxicity", "rouge1", "rouge2", "words", "kl")

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
    """The responses of one model: texts, and a number a response each (float64 [responses]).

    rows: int [responses], which row each answers. Several to one row are no independent draws: they are averaged or
      drawn together wherever chance is reckoned with.
    """

    responses: list[str]
    rows: np.ndarray
    reward: np.ndarray
    toxicity: np.ndarray
    rouge1: np.ndarray | None
    rouge2: np.ndarray | None
    words: np.ndarray
    kl: np.ndarray  # to the reference, from the sampled tokens, nats
    # p(toxic) by each of `config.judges`, which no reward reads.
    judges: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # int [responses], equal for rows that were drawn together (`data.groups`); None: each row by itself.
    groups: np.ndarray | None = None

    @property
    def drawn(self) -> np.ndarray:
        """int [responses]: equal for responses that are no independent draws."""
        return self.rows if self.groups is None else self.groups

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        columns = {name: column for name in _NUMBERS if (column := getattr(self, name)) is not None}
        return columns | {f"toxicity by {name}": column for name, column in self.judges.items()}

    def take(self, chosen: np.ndarray) -> Measured:
        """Of these responses alone."""
        responses = [self.responses[i] for i in chosen.tolist()]
        columns: dict[str, Any] = {
            name: None if column is None else column[chosen]
            for name in ("rows", *_NUMBERS)
            for column in [getattr(self, name)]
        }
        judges = {name: column[chosen] for name, column in self.judges.items()}
        groups = None if self.groups is None else self.groups[chosen]
        return Measured(responses, **columns, judges=judges, groups=groups)

    def is_finite(self) -> np.ndarray:
        """bool [responses]: whether all numbers of a response are finite."""
        table = np.stack(list(self.numbers().values()))
        return np.asarray(np.isfinite(table).all(axis=0))


def finite_ones(before: Measured, after: Measured) -> tuple[Measured, Measured, list[str]]:
    """The responses whose numbers are finite before and after; and what to warn of: that some are not.

    Raises:
      InputError: there are none.
    """
    finite = before.is_finite() & after.is_finite()
    kept = np.flatnonzero(finite)
    if not len(kept):
        raise InputError(
            "rewards: no evaluation row has finite scores before and after; the policy and its checkpoints are saved,"
            " look at the reward model or function"
        )
    lost = int((~finite).sum())
    warning = f"{lost} of {len(finite)} responses have scores that are not finite: left out."
    return before.take(kept), after.take(kept), [warning] if lost else []


def finite_others(others: Mapping[str, Measured]) -> tuple[dict[str, Measured], list[str]]:
    """Further systems with their responses whose numbers are finite; and what to warn of."""
    kept, found = {}, []
    for name, measured in others.items():
        finite = measured.is_finite()
        if not finite.all():
            lost = int((~finite).sum())
            found.append(
                f"{name}: {lost} of {len(finite)} responses have scores that are not finite: left out."
            )
        if finite.any():
            kept[name] = measured.take(np.flatnonzero(finite))
    return kept, found


def measure(
    rows: Sequence[Row],
    numbers: Sequence[int],
    references: Sequence[str] | None,
    responses: list[str],
    kl: np.ndarray,
    scorers: tuple[Reward, Judge, Mapping[str, Judge]],
    groups: np.ndarray | None = None,
) -> Measured:
    """Scores responses by reward, toxicity and the other judges.

    rows, references: what each answers and is compared with (None: nothing). numbers: of the rows. groups: as
    `Measured` has them.
    """
    reward, toxicity, judges = scorers
    scores: Mapping[str, np.ndarray] = {}
    if references is not None:
        scores = share_out_columns(len(responses), functools.partial(_rouge, responses, references))
    return Measured(
        responses,
        np.asarray(numbers),
        np.asarray(reward(rows, responses), np.float64),
        np.asarray(toxicity(rows, responses), np.float64),
        scores.get("rouge1"),
        scores.get("rouge2"),
        np.array([len(text.split()) for text in responses], np.float64),
        np.asarray(kl, np.float64),
        {name: np.asarray(judge(rows, responses), np.float64) for name, judge in judges.items()},
        groups,
    )


def _rouge(
    responses: Sequence[str], references: Sequence[str], own: slice
) -> dict[str, np.ndarray]:
    return score_rows(
        [split_sentences(text) for text in responses[own]],
        [split_sentences(text) for text in references[own]],
        use_stemmer=True,
        rouge_types=("rouge1", "rouge2"),
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
        interval = paired_difference(changed, column, bootstrap, before.drawn)
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
                "p": paired_p_value(column, changed, bootstrap.seed, before.drawn),
                "percent": 100 * interval.mean / abs(mean) if mean else None,
                **{other: float(numbers[name].mean()) for other, numbers in theirs.items()},
            }
        )
    return table


def warnings(before: Measured, after: Measured, bootstrap: Bootstrap) -> list[str]:
    """What a reader must not miss: reward hacking, a reward that did not rise, responses that became empty."""
    found = []
    gain = paired_difference(after.reward, before.reward, bootstrap, before.drawn)
    lost = [
        f"{title} fell by {100 * (float(one.mean()) - float(two.mean())):.1f} points"
        for title, one, two in (
            ("ROUGE-1", before.rouge1, after.rouge1),
            ("ROUGE-2", before.rouge2, after.rouge2),
        )
        if one is not None and two is not None and one.mean() - two.mean() > _ROUGE_POINTS
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
        found.append(f"Quality: {' and '.join(lost)}. Read the samples.")
    if gain.high < 0:
        found.append(
            f"The reward fell by {-gain.mean:.3f}. Take a smaller schedule.learning_rate or more ppo.prompts; see"
            " ppo/std_scores for whether it tells responses apart."
        )
    elif gain.low <= 0:
        found.append("The reward did not change beyond chance. Take more ppo.steps, or more rows.")
    for name, (one, two) in _toxicities(before, after).items():
        rise = paired_difference(two, one, bootstrap, before.drawn)
        if gain.low > 0 and rise.low > 0:
            found.append(
                f"The reward rose by {gain.mean:.3f}, and {name} by {rise.mean:.3f}: reward and judge disagree, or the"
                " labels of one are swapped."
            )
    distinct = len(set(after.responses)), len(set(before.responses))
    if distinct[0] < 0.5 * distinct[1]:
        found.append(
            f"Collapse: {distinct[0]} distinct responses after, {distinct[1]} before, of {len(after.responses)}."
        )
    empty = sum(not text.strip() for text in after.responses)
    if empty:
        found.append(f"{empty} of {len(after.responses)} responses are empty.")
    return found


def toxicity_table(
    systems: Mapping[str, Measured], rows: int, bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """mean with its interval, std, max and ratio over 0.5 of p(toxic), and by how many percent the mean fell from the
    first system's (the labs' improvement); a row a system.

    rows: only the responses to the first so many rows, every draw of them (the labs take 11); 0: all.
    """
    table: list[dict[str, Any]] = []
    for name, measured in systems.items():
        some = measured.rows < rows if rows else slice(None)
        summary = toxicity_summary(measured.toxicity[some], bootstrap, measured.drawn[some])
        first = table[0]["mean"] if table else summary["mean"]
        percent = 100 * (first - summary["mean"]) / max(first, 1e-9)
        table.append({"system": name, **summary, "percent less": percent})
    return table


def beside_published(
    toxicity: Sequence[Mapping[str, Any]], published: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Our toxicity before and after, and the published numbers below it."""
    ours = [
        {
            "run": f"ours, {line['system']}",
            **{key: line[key] for key in ("mean", "std", "percent less")},
        }
        for line in toxicity
    ]
    return [*ours, *({"run": name, **numbers} for name, numbers in published.items())]


def seconds_a_step(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the time of a step goes: the median, and the first step, which compiles."""
    parts = [name for name in steps[0] if name.startswith("time/ppo/")]
    return [
        {
            "part": name.removeprefix("time/ppo/"),
            "median": float(np.median([step[name] for step in steps])),
            "first step": steps[0][name],
        }
        for name in parts
    ]


def largest_changes(rows: Sequence[Row], before: Measured, after: Measured) -> list[dict[str, Any]]:
    """20 responses, evenly over all, sorted by how much the reward rose: the lab's table of before and after."""
    difference = after.reward - before.reward
    order = np.argsort(-difference, kind="stable")
    places = np.unique(
        np.linspace(0, len(order) - 1, min(_TABLE_ROWS, len(order))).round().astype(int)
    )
    return [
        {
            "id": rows[before.rows[i]]["id"],
            "response before": before.responses[i],
            "response after": after.responses[i],
            "reward before": float(before.reward[i]),
            "reward after": float(after.reward[i]),
            "difference": float(difference[i]),
        }
        for i in order[places]
    ]


def agreement_of_judges(before: Measured, after: Measured) -> list[dict[str, Any]]:
    """Whether each judge of toxicity agrees with the reward that the responses became better; a row a judge."""
    reward = float((after.reward - before.reward).mean())
    table = []
    for name, (one, two) in _toxicities(before, after).items():
        fell = float((one - two).mean())
        table.append(
            {
                "judge": name,
                "reward rose by": reward,
                "in its standard deviations": reward / max(float(before.reward.std()), 1e-9),
                "toxicity fell by": fell,
                "same sign": bool(reward * fell > 0),
            }
        )
    return table


def _toxicities(before: Measured, after: Measured) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    theirs = after.numbers()
    return {
        name: (column, theirs[name])
        for name, column in before.numbers().items()
        if name.startswith("toxicity")
    }


def evaluation_metrics(measured: Measured) -> dict[str, float]:
    """What is logged while training: means under evaluation/*, over the responses whose numbers are finite."""
    finite = np.flatnonzero(measured.is_finite())
    measured = measured.take(finite) if len(finite) else measured
    return {f"evaluation/{name}": float(c.mean()) for name, c in measured.numbers().items()}
