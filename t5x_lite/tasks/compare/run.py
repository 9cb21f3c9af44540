"""Runs side by side: what they wrote for the same rows (samples.jsonl), scored anew, and the paired differences."""

from __future__ import annotations

from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.rows import rows_section
from t5x_lite.reports.systems import (
    CONFIDENCE,
    common_rows,
    read_systems,
    score_systems,
    side_by_side,
    systems_table,
)
from t5x_lite.tasks.compare.mixtures import are_mixtures, compare_mixtures
from t5x_lite.tasks.compare.sections import Config
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task: over the rows of one file, or task by task where the runs are of mixtures."""
    if are_mixtures(config.runs):
        compare_mixtures(config, workdir)
        return
    systems = [system for name, folder in config.runs for system in read_systems(name, folder)]
    keys = common_rows(systems)
    folder = open_workdir(workdir, config)
    claim_workdir(folder, config)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, CONFIDENCE, config.seed)
    scored = score_systems(systems, keys)
    table = systems_table(scored, scored.columns, bootstrap)
    sections = {
        "summary": (
            f"{len(keys)} rows that all systems wrote an output for. F-measures times 100, Porter-stemmed, plain mean"
            f" with its 95 % bootstrap interval; differences to {systems[0].name!r} are paired by row, ✓: the whole"
            f" interval is above zero, ✗: below.{scored.note()}"
        ),
        "systems": table,
        **rows_section({system.name: scored.texts_of(system) for system in systems}),
        "samples": side_by_side(systems, keys[: config.evaluation.samples]),
    }
    if scored.best is not None:
        sections["systems, best reference"] = systems_table(scored, scored.best, bootstrap)
    title = "compare: " + ", ".join(name for name, _ in config.runs)
    report_run(config, folder, title, sections, table=table)
