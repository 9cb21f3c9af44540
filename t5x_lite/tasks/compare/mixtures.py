"""Runs of mixtures side by side, task by task: what each learnt, and what it forgot of the others' tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.systems import (
    CONFIDENCE,
    System,
    common_rows,
    differences_table,
    read_systems,
    score_systems,
    side_by_side,
    systems_table,
)
from t5x_lite.tasks.compare.sections import Config
from t5x_lite.tasks.mixture.scores import AFTER_FOLDER, BEFORE_FOLDER
from t5x_lite.wiring.workdir import CONFIG_FILE, claim_workdir, open_workdir

_BEFORE = "before"

Runs = Sequence[tuple[str, str]]


def are_mixtures(runs: Runs) -> bool:
    """Whether these are workdirs of the task "mixture".

    Raises:
      InputError: some are, others are not.
    """
    found = {name: (_folder(workdir) / AFTER_FOLDER).is_dir() for name, workdir in runs}
    if len(set(found.values())) > 1:
        of_mixtures = [name for name, is_mixture in found.items() if is_mixture]
        raise InputError(
            f"config.runs: {', '.join(of_mixtures)} trained on a mixture of tasks, the others did not; compare runs of"
            " one kind"
        )
    return any(found.values())


def compare_mixtures(config: Config, workdir: str) -> None:
    """Scores every task that all runs were scored on, before (the model that all began from) and after each run.

    Raises:
      InputError: no task is in all runs, or rows that the runs do not share.
    """
    systems = {name: _systems(config.runs, name) for name in _shared_tasks(config.runs)}
    rows = {name: common_rows(of_task) for name, of_task in systems.items()}
    folder = open_workdir(workdir, config)
    claim_workdir(folder, config)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, CONFIDENCE, config.seed)
    table: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    note = ""
    for name, of_task in systems.items():
        scored = score_systems(of_task, rows[name])
        note = note or scored.note()
        trained = {"task": name, "trained on": _trained_on(config.runs, name)}
        table += [trained | line for line in systems_table(scored, scored.columns, bootstrap)]
        differences += [
            {"task": name, **line} for line in differences_table(scored, scored.columns, bootstrap)
        ]
        shown = side_by_side(of_task, rows[name][: config.evaluation.samples])
        samples += [{"task": name, **sample} for sample in shown]
    sections = {
        "summary": table,
        "how to read": (
            "F-measures times 100, Porter-stemmed, plain mean with its 95 % bootstrap interval; differences are to the"
            " first system of the task, paired by row, ✓: the whole interval is above zero, ✗: below. 'before' is the"
            " model that the runs began from: in a task that was not trained on, a fall from there is what was"
            f" forgotten.{note}"
        ),
        "differences": differences,
        "samples": samples,
    }
    title = "compare: " + ", ".join(name for name, _ in config.runs)
    report_run(config, folder, title, sections, table=table)


def _folder(workdir: str) -> epath.Path:
    return epath.Path(workdir).expanduser()


def _tasks(workdir: str, outputs: str) -> list[str]:
    folder = _folder(workdir) / outputs
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file.stem for file in files if file.suffix == ".jsonl")


def _shared_tasks(runs: Runs) -> list[str]:
    """The tasks of all runs; the others are named in the log."""
    of_run = {name: _tasks(workdir, AFTER_FOLDER) for name, workdir in runs}
    tasks = set.intersection(*map(set, of_run.values()))
    if not tasks:
        raise InputError(
            "config.runs: no task was scored by all of them: "
            + "; ".join(f"{name} has {', '.join(found)}" for name, found in of_run.items())
        )
    for name, found in of_run.items():
        if left_out := sorted(set(found) - tasks):
            log.warning("%s: not in every run and left out: %s", name, ", ".join(left_out))
    return sorted(tasks)


def _systems(runs: Runs, task: str) -> list[System]:
    """What stood before (where a run scored that), and what each run ended with.

    Raises:
      InputError: a file that is no samples, or runs that did not begin from one model.
    """
    file = f"{task}.jsonl"
    found: list[System] = []
    for name, workdir in runs:
        if task not in _tasks(workdir, BEFORE_FOLDER):
            continue
        (begun,) = read_systems(_BEFORE, str(_folder(workdir) / BEFORE_FOLDER), file)
        if found and begun.outputs != found[0].outputs:
            raise InputError(
                f"config.runs: before training, {name} wrote other texts for the task {task!r} than the run before it:"
                " the runs must begin from one model, with the same rows and generation settings"
            )
        found = [begun]
    for name, workdir in runs:
        found += read_systems(name, str(_folder(workdir) / AFTER_FOLDER), file)
    return found


def _trained_on(runs: Runs, task: str) -> str:
    """ "yes", "no", or the runs that were."""
    names = []
    for name, workdir in runs:
        config = json.loads((_folder(workdir) / CONFIG_FILE).read_text())
        if config["data"]["tasks"][task]["rate"]:
            names.append(name)
    return "no" if not names else "yes" if len(names) == len(runs) else ", ".join(names)
