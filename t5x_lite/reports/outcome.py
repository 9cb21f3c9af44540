"""The report of a run: scores first, then what was trained on what, and for how long. The scores go to the log, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etils import epath

from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.params.overview import count, overview
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.report import write_report
from t5x_lite.reports.scores import scores_blocks
from t5x_lite.reports.tables import Table, markdown_table
from t5x_lite.sections import to_dict
from t5x_lite.train.measured import MEMORY_FILE, read_memory


def training_sections(
    config: Any, workdir: epath.Path, plan: Plan, *, before: int
) -> dict[str, Any]:
    """The report's sections "training", "memory of a step" and "data". The plan came after the first `before` steps."""
    records = read_metrics(workdir)
    steps = [record for record in records if "loss" in record]
    evaluations = [record for record in records if "evaluation/loss" in record]
    seconds = sum(record["time/step_seconds"] for record in steps) * config.logging.every_steps
    padding = plan.padding()
    return {
        "training": {
            "steps": config.train.steps,
            "epochs": (config.train.steps - before) / plan.steps_per_epoch,
            "minutes in steps": seconds / 60,
            "first loss": steps[0]["loss"],
            "last loss": steps[-1]["loss"],
            "evaluation loss": evaluations[-1]["evaluation/loss"],
            "evaluation accuracy": evaluations[-1]["evaluation/accuracy"],
            "skipped steps": sum(record["skipped"] for record in steps),
        },
        "memory of a step": _memory(workdir),
        "data": {
            "train examples": len(plan.source.encoder_lengths),
            "batch shapes (encoder, decoder, rows)": ", ".join(str(tuple(s)) for s in plan.shapes),
            "padding of encoder tokens": padding["encoder"],
            "padding of decoder tokens": padding["decoder"],
        },
    }


def _memory(workdir: epath.Path) -> list[dict[str, Any]]:
    """For each shape of batch what the compiled step holds on a device, in megabytes, as its compiler counts."""
    rows = []
    for shape, counted in read_memory(workdir / MEMORY_FILE).items():
        new = counted["outputs"] - counted["aliased"]
        sizes = {
            "state and batch": counted["arguments"],
            "temporaries": counted["temporaries"],
            "all at once": counted["arguments"] + new + counted["temporaries"],
        }
        row: dict[str, Any] = {"batch (encoder x decoder x rows)": shape}
        rows.append(row | {name: round(size / 1e6, 3) for name, size in sizes.items()})
    return rows


def report_outcome(
    config: Any,
    workdir: epath.Path,
    params: Any,
    scores: Mapping[str, Any],
    samples: list[dict[str, Any]],
    sections: Mapping[str, Any],
) -> None:
    """Writes the report, with the sections of the task among (or in place of) those that every run has, and logs its
    table of scores.
    """
    report = {
        "title": f"{config.task}: {config.data.evaluation.source}",
        "scores": {"evaluation": scores},
        "parameters": [{"path": "all", "parameters": count(params)}, *overview(params)],
        "samples": samples,
        **sections,
        "environment": environment(),
        "config": to_dict(config),
    }
    write_report(workdir, report)
    table = next(b for b in scores_blocks("evaluation", scores) if isinstance(b, Table))
    log.info(
        "%d rows scored:\n\n%s\n", scores["rows"], markdown_table(table.header, table.rows).rstrip()
    )
    log.info("report: %s", workdir / "report.md")


def log_table(rows: list[dict[str, Any]], workdir: epath.Path) -> None:
    """Logs a report's list of rows as a table, and where the report is."""
    header = tuple(rows[0])
    table = markdown_table(header, [[row[key] for key in header] for row in rows])
    log.info("scores:\n\n%s\n", table.rstrip())
    log.info("report: %s", workdir / "report.md")
