"""The report of a supervised run: scores first, then what was trained on what, and how long it took."""

from __future__ import annotations

from typing import Any

from etils import epath
from ml_collections import ConfigDict

from t5x_lite.data.plan import Plan
from t5x_lite.params.overview import count, overview
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import read_metrics


def outcome(
    config: ConfigDict,
    workdir: epath.Path,
    params: Any,
    plan: Plan,
    scores: dict[str, Any],
    samples: list[dict[str, Any]],
) -> dict[str, Any]:
    """The content of the report (see `reports.report.write_report` for its form)."""
    records = read_metrics(workdir)
    steps = [record for record in records if "loss" in record]
    evaluations = [record for record in records if "evaluation/loss" in record]
    seconds = sum(record["time/step_seconds"] for record in steps) * config.logging.every_steps
    padding = plan.padding()
    return {
        "title": f"{config.task}: {config.data.train.source}",
        "scores": {
            "evaluation": scores
            | {
                "published": [
                    {"name": name, **values.to_dict()} for name, values in config.published.items()
                ]
            }
        },
        "training": {
            "steps": config.train.steps,
            "epochs": config.train.steps / plan.steps_per_epoch,
            "minutes in steps": seconds / 60,
            "first loss": steps[0]["loss"],
            "last loss": steps[-1]["loss"],
            "evaluation loss": evaluations[-1]["evaluation/loss"],
            "evaluation accuracy": evaluations[-1]["evaluation/accuracy"],
            "skipped steps": sum(record["skipped"] for record in steps),
        },
        "data": {
            "train examples": len(plan.source.encoder_lengths),
            "evaluation examples": scores["rows"],
            "batch shapes (encoder, decoder, rows)": ", ".join(str(tuple(s)) for s in plan.shapes),
            "padding of encoder tokens": padding["encoder"],
            "padding of decoder tokens": padding["decoder"],
        },
        "parameters": [{"path": "all", "parameters": count(params)}, *overview(params)],
        "samples": samples,
        "environment": environment(),
        "config": config.to_dict(),
    }
