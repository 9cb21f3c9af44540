"""The report of a DPO run: how well the policy tells chosen from rejected, and what became of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from t5x_lite.console import log
from t5x_lite.data.preferences import CHOSEN, REJECTED
from t5x_lite.data.sources import Row
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.preferences import (
    OBSERVED,
    PREDICTED,
    accuracy_by_kind,
    preference_calibration,
    preference_scores,
)
from t5x_lite.reports.calibration_plot import plot_calibration
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.plots import Panel
from t5x_lite.tasks.dpo.sections import Config
from t5x_lite.wiring.holdout import row_groups

_CONFIDENCE = 0.95
_PANELS = (
    Panel(r"(evaluation/)?loss", "Loss", "DPO loss (per pair)"),
    Panel(r"(evaluation/)?accuracy", "Pairs in the right order", "share of pairs"),
    Panel(r"(evaluation/)?margin", "Margin", "implicit reward, chosen - rejected"),
    Panel(r"(evaluation/)?rewards/.*", "Implicit rewards", "beta x log ratio to the reference"),
    Panel(r"grad_norm", "Gradient norm", "global L2 norm before clipping", log=True),
)
Texts = tuple[dict[str, Any], list[dict[str, Any]]]


def report(
    config: Config,
    folder: epath.Path,
    rows: Sequence[Row],
    measured: tuple[np.ndarray, np.ndarray],
    before: Texts,
    after: Texts,
    sizes: Mapping[str, Any],
) -> None:
    """Writes it, and logs the accuracy.

    Args:
      rows: the held-out pairs.
      measured: float64 [pairs, 2] each, log-probabilities of chosen and rejected, by the reference and by the policy.
      before, after: scores and samples of the policy's texts.
      sizes: of the table of training: steps, pairs, parameters.
    """
    reference, logprobs = measured
    rewards = config.loss.beta * (logprobs - reference)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    groups = row_groups(config.data, rows)
    scores = preference_scores(rewards[:, 0], rewards[:, 1], bootstrap, groups)
    by_kind = {}
    if "kind" in rows[0]:
        found = accuracy_by_kind(rewards[:, 0], rewards[:, 1], rows, bootstrap, groups)
        by_kind["accuracy by kind"] = found
    for name, values in (("before", reference), ("after", logprobs)):
        scores[f"chosen is likelier, {name}"] = float(np.mean(values[:, 0] > values[:, 1]))
        scores[f"log-probability of the chosen, {name}"] = float(np.mean(values[:, 0]))
    summary = _summary(*(float(np.mean(values[:, 0])) for values in (reference, logprobs)))
    if summary:
        log.warning("%s", summary)
    log.info(
        "implicit rewards: %.3f of %d held-out pairs in the right order, mean margin %.3f",
        scores["accuracy"], scores["pairs"], scores["mean margin"],
    )  # fmt: skip
    calibration = preference_calibration(rewards[:, 0], rewards[:, 1])
    steps = [record for record in read_metrics(folder) if "loss" in record]
    report_run(
        config,
        folder,
        f"{config.task}: {config.data.train.source}",
        {
            **({"summary": summary} if summary else {}),
            "preferences": scores,
            **by_kind,
            "calibration": calibration,
            "scores": {"before": before[0], "after": after[0]},
            "training": {
                **sizes,
                "first loss": steps[0]["loss"],
                "last loss": steps[-1]["loss"],
            },
            "samples": _samples(rows, before[1], after[1], rewards),
        },
        panels=_PANELS,
        pictures={"calibration": plot_calibration(calibration, PREDICTED, OBSERVED)},
    )


def _samples(
    rows: Sequence[Row],
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    rewards: np.ndarray,
) -> list[dict[str, Any]]:
    return [
        {
            **{name: row[name] for name in ("id", CHOSEN, REJECTED)},
            "input": new["input"],
            "text before": old["output"],
            "text after": new["output"],
            "implicit reward of chosen": float(pair[0]),
            "implicit reward of rejected": float(pair[1]),
        }
        for row, old, new, pair in zip(rows, before, after, rewards, strict=False)
    ]


def _summary(before: float, after: float) -> str:
    """What a reader must know first; before, after: mean log-probability of the chosen responses."""
    if after >= before:
        return ""
    return (
        "The policy gives the chosen responses, too, less probability than before"
        f" ({before:.1f} nats, now {after:.1f}). The loss allows that; read the texts, and compare ROUGE before and"
        " after. A larger loss.beta, a smaller schedule.learning_rate or fewer steps leave the policy nearer to its"
        " reference."
    )
