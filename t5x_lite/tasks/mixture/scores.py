"""Scores of every task of a mixture: generated texts against references, and what training changed in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from t5x_lite.data.groups import drawn
from t5x_lite.data.plan import Plan
from t5x_lite.data.templates import render
from t5x_lite.evaluation.comparison import Columns, score_outputs
from t5x_lite.evaluation.generative import SamplesFile, generate_texts, own_batches
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.reports.scores import points
from t5x_lite.tasks.mixture.sections import Config
from t5x_lite.wiring.scoring import Ready, make_decode
from t5x_lite.wiring.text import Split

# In the workdir: every task's outputs after training, and before.
AFTER_FOLDER, BEFORE_FOLDER = "outputs", "outputs_before"

_CONFIDENCE = 0.95
_SHOWN = ("rouge1", "rouge2", "rougeL", "exact")


@dataclasses.dataclass(frozen=True)
class TaskScores:
    """One task's result of `evaluation.comparison.score_outputs`, and each row's scores ("exact": 0 or 1, too).

    groups: int [rows], equal for rows that were drawn together (`data.groups`).
    """

    result: dict[str, Any]
    columns: Columns
    outputs: list[str]
    groups: np.ndarray


def score_tasks(
    config: Config,
    ready: Ready,
    splits: Mapping[str, Split],
    plans: Mapping[str, Plan],
    folder: epath.Path,
) -> dict[str, TaskScores]:
    """Generates for every evaluation row of every task, and scores; outputs are in folder/TASK.jsonl.

    "exact" is the share of outputs that are the reference, case and white space aside.
    """
    decode = make_decode(config, ready)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    scores = {}
    for name, split in splits.items():
        task, plan = config.data.tasks[name], plans[name]
        inputs = [row[task.cut_field] for row in split.rows]
        references = [render(task.target, row) for row in split.rows]
        ids = [row["id"] for row in split.rows]
        belonging = drawn(split.rows, task.templates, task.cut_field)
        samples = SamplesFile(folder / f"{name}.jsonl", ids, inputs, references)
        outputs = generate_texts(
            decode,
            ready.vocabulary,
            own_batches(plan, ready.mesh),
            len(inputs),
            on_text=samples.write,
        )
        result, columns = score_outputs(
            outputs,
            references,
            inputs,
            use_stemmer=True,
            bootstrap=bootstrap,
            drawn=belonging,
            shuffle_seed=config.seed if len(set(inputs)) > 1 else None,
        )
        exact = np.array(
            [
                float(_folded(output) == _folded(reference))
                for output, reference in zip(outputs, references, strict=True)
            ]
        )
        samples.finish(columns | {"exact": exact})
        scores[name] = TaskScores(result, columns | {"exact": exact}, outputs, belonging.groups)
    return scores


def tasks_table(
    config: Config, before: Mapping[str, TaskScores] | None, after: Mapping[str, TaskScores]
) -> list[dict[str, Any]]:
    """The report's section "tasks": a row a task, scores times 100 with intervals, and with `before` the paired change
    by training. A task of rate 0 was only scored: its change is what was forgotten (or won) on the way.
    """
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    rows = []
    for name, scores in after.items():
        row: dict[str, Any] = {
            "task": name,
            "trained on": "yes" if config.data.tasks[name].rate else "no",
            "rows": len(scores.outputs),
        }
        for kind in _SHOWN:
            values = scores.columns[kind]
            interval = bootstrap_mean(values, bootstrap, scores.groups)
            row[kind] = points(dataclasses.asdict(interval), 1)
            if before is not None:
                change = paired_difference(
                    values, before[name].columns[kind], bootstrap, scores.groups
                )
                row[f"{kind} change"] = points(dataclasses.asdict(change), 1, "+")
        rows.append(row)
    return rows


def task_samples(
    config: Config, splits: Mapping[str, Split], after: Mapping[str, TaskScores]
) -> list[dict[str, Any]]:
    """The first `evaluation.samples` rows of each task with the model's outputs."""
    return [
        {
            "task": name,
            "id": row["id"],
            "input": row[config.data.tasks[name].cut_field],
            "reference": render(config.data.tasks[name].target, row),
            "output": output,
        }
        for name, split in splits.items()
        for row, output in list(zip(split.rows, after[name].outputs, strict=True))[
            : config.evaluation.samples
        ]
    ]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
