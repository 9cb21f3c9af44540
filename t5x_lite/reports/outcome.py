"""The report of a run, whatever its task: what all have in common, and what those that train or score a split share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.data.templates import find_template
from t5x_lite.errors import Diverged, InputError
from t5x_lite.params.overview import count, overview
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.plots import PANELS, Panel
from t5x_lite.reports.report import DIFFERS, DIVERGED, write_report
from t5x_lite.reports.rows import read_scored, rows_section
from t5x_lite.reports.scores import scores_blocks
from t5x_lite.reports.systems import SAMPLES_FILE
from t5x_lite.reports.tables import Table, markdown_table
from t5x_lite.sections import Config, to_dict
from t5x_lite.train.measured import MEMORY_FILE, read_memory


def training_sections(
    config: Any, workdir: epath.Path, plan: Plan, *, before: int, ended_with: int
) -> dict[str, Any]:
    """The report's sections "training", "memory of a step" and "data".

    before: steps before the plan's first. ended_with: the step whose state the run ended with.
    """
    records = read_metrics(workdir)
    steps = [record for record in records if "loss" in record]
    evaluations = [record for record in records if "evaluation/loss" in record]
    seconds = sum(record["time/step_seconds"] for record in steps) * config.logging.every_steps
    padding = plan.padding()
    first = evaluations[0]
    last = next((one for one in evaluations if one["step"] == ended_with), evaluations[-1])
    return {
        "training": {
            "steps": config.train.steps,
            **({"best step": ended_with} if config.checkpoint.export == "best" else {}),
            "epochs": (config.train.steps - before) / plan.steps_per_epoch,
            "minutes in steps": seconds / 60,
            "first loss": steps[0]["loss"],
            "last loss": steps[-1]["loss"],
            **(
                {"evaluation loss at step 0": first["evaluation/loss"]} if not first["step"] else {}
            ),
            "evaluation loss": last["evaluation/loss"],
            "evaluation accuracy": last["evaluation/accuracy"],
            "skipped steps": sum(record["skipped"] for record in steps),
        },
        "memory of a step": _memory(workdir),
        "data": {
            **_templates(config.data),
            "train examples": len(plan.source.encoder_lengths),
            "batch shapes (encoder, decoder, rows)": ", ".join(str(tuple(s)) for s in plan.shapes),
            "padding of encoder tokens": padding["encoder"],
            "padding of decoder tokens": padding["decoder"],
        },
    }


def _templates(data: Any) -> dict[str, str]:
    """The texts of the templates: whoever uses the model has to ask it so."""
    given = {"encoder's text": "template", "decoder's text": "target"}
    return {
        name: find_template(getattr(data, field)).text
        for name, field in given.items()
        if hasattr(data, field)
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


def parameters_section(params: Any) -> dict[str, Any]:
    """The report's section "parameters": how many there are, and of which shapes. params: arrays, or shapes alone."""
    return {"parameters": [{"path": "all", "parameters": count(params)}, *overview(params)]}


def report_outcome(
    config: Any,
    workdir: epath.Path,
    scores: Mapping[str, Any],
    samples: list[dict[str, Any]],
    sections: Mapping[str, Any],
) -> None:
    """`report_run` of a split's scores, whose table is logged, with the rows of its samples.jsonl. sections: stand
    among those that every run has.
    """
    # Process 0 wrote the file and writes the report.
    known = {"": read_scored(workdir / SAMPLES_FILE)} if jax.process_index() == 0 else {}
    rows = rows_section(known)
    table = next(b for b in scores_blocks("evaluation", scores) if isinstance(b, Table))
    report_run(
        config,
        workdir,
        f"{config.task}: {config.data.evaluation.source}",
        {"scores": {"evaluation": scores}, **rows, "samples": samples, **sections},
        table=[dict(zip(table.header, row, strict=True)) for row in table.rows],
        words=f"{scores['rows']} rows scored",
    )


def report_answers(
    config: Any,
    workdir: epath.Path,
    outputs: Mapping[str, Any],
    samples: list[dict[str, Any]],
    sections: Mapping[str, Any],
) -> None:
    """`report_run` of texts that were written to rows without references; outputs: how many, how long."""
    title = f"{config.task}: {config.data.evaluation.source}"
    report_run(config, workdir, title, {"outputs": outputs, "samples": samples, **sections})
    log.info("%s rows answered: %s", outputs["rows"], workdir / SAMPLES_FILE)


def report_run(
    config: Config,
    workdir: epath.Path,
    title: str,
    sections: Mapping[str, Any],
    *,
    table: Sequence[Mapping[str, Any]] = (),
    words: str = "scores",
    panels: Sequence[Panel] = PANELS,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a run's report: the sections of its task among (or in place of) those of every run, which are how the
    config differs from its base, the environment, and the whole config.

    table: rows that are logged, too, behind `words`. panels, pictures: as `write_report` takes them.
    """
    report = {"title": title, **run_sections(config), **sections}
    write_report(workdir, report, panels, pictures)
    if table:
        header = tuple(table[0])
        text = markdown_table(header, [[row[key] for key in header] for row in table])
        log.info("%s:\n\n%s\n", words, text.rstrip())
    log.info("report: %s", workdir / "report.md")


def report_divergence(config: Config, workdir: epath.Path, error: Diverged) -> None:
    """Writes the report of a run that diverged, which says so at its top; it has no scores."""
    records = [record for record in read_metrics(workdir) if "time/step_seconds" in record]
    losses = [
        float(record.get("loss", record.get("ppo/loss/total", math.nan))) for record in records
    ]
    finite = [loss for loss in losses if math.isfinite(loss)]
    known = {"first": losses[:1], "last finite": finite[-1:]}
    sections = {
        DIVERGED: {
            "what": f"This run diverged, and its model was not exported: {error.reason}.",
            "began at step": error.first,
            "ended after step": error.step,
            "first tensor that is not finite": error.tensor or "not known",
            "rows of the batch where it began": ", ".join(error.examples) or "not known",
            "what is left": error.kept,
        },
        "training": {f"{name} loss": values[0] for name, values in known.items() if values},
    }
    report_run(config, workdir, f"{config.task}: diverged at step {error.first}", sections)


def is_finished(workdir: epath.Path) -> bool:
    """Whether a run ended there with a report, other than that it diverged.

    Raises:
      InputError: the report cannot be read.
    """
    file = workdir / "report.json"
    if not file.exists():
        return False
    try:
        return DIVERGED not in json.loads(file.read_text())
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: not JSON ({error}); remove it") from error


def run_sections(config: Config) -> dict[str, Any]:
    """The sections of every report. "differs from the base": {field: [value of the base, of this run]}."""
    return {
        DIFFERS: {name: list(both) for name, both in config.differences.items()},
        "environment": environment(),
        "config": to_dict(config),
    }
