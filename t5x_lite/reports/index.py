"""One page over a folder of runs: a table to sort, their curves overlaid, and how their configs differ."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.page import escaped, inline_svg, page
from t5x_lite.reports.plots import Panel, draw_metrics
from t5x_lite.reports.tables import html_table, shown

INDEX_FILE = "index.html"
_CONFIG, _REPORT = "config.json", "report.json"
_CELL = 80  # characters of a value
_CURVES = (
    ("loss", "Training loss", "cross-entropy (nats per token)"),
    ("evaluation/loss", "Evaluation loss", "cross-entropy (nats per token)"),
    ("env/reward_mean", "Reward", "mean of a step"),
    ("objective/kl", "KL to the reference", "nats per response"),
)

# A click on a header sorts by its column, numbers as numbers; a second one turns the order round.
_SORT = """
for (const head of document.querySelectorAll('table.sortable th')) head.onclick = () => {
  const body = head.closest('table').tBodies[0], column = head.cellIndex, rows = [...body.rows];
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = head.dataset.order = head.dataset.order === 'up' ? 'down' : 'up';
  const compare = (a, b) => a !== '' && b !== '' && !isNaN(a) && !isNaN(b) ? a - b : String(a).localeCompare(b);
  rows.sort((a, b) => compare(key(a), key(b)) * (order === 'up' ? 1 : -1)).forEach(row => body.append(row));
};
"""


@dataclasses.dataclass(frozen=True)
class Indexed:
    """A run: its name below the folder, and what it left."""

    name: str
    folder: pathlib.Path
    config: dict[str, Any]
    report: dict[str, Any]
    metrics: list[dict[str, Any]]


def write_index(folder: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Writes folder/index.html over the runs below it, and returns it with how many there are.

    Raises:
      InputError: the folder is not there, or no run lies in it; a file of a run cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"index {folder}: there is no such folder")
    runs = list(_runs(folder))
    if not runs:
        raise InputError(f"index {folder}: no run lies in it (a folder with {_CONFIG})")
    parts = [
        f"<h1>Runs in {escaped(folder.name or str(folder))}</h1>",
        "<p>A click on a column's head sorts by it. Every name leads to its report.</p>",
        _table(runs),
        *_overlaid(runs),
        "<h2>How their configs differ</h2>",
        _differences(runs),
    ]
    file = folder / INDEX_FILE
    file.write_text(page(f"Runs in {folder.name}", "\n".join(parts), _SORT), encoding="utf-8")
    return file, len(runs)


def _runs(folder: pathlib.Path) -> Iterator[Indexed]:
    """Every run, those that a run trained first among them. A model's own config.json is no run's."""
    for config in sorted(folder.rglob(_CONFIG)):
        values = read_object(config, "the config of a run")
        if "task" not in values or "seed" not in values:
            continue
        place = config.parent
        report = place / _REPORT
        yield Indexed(
            place.relative_to(folder).as_posix(),
            place,
            values,
            read_object(report, "a report") if report.is_file() else {},
            read_metrics(place),
        )


def _facts(run: Indexed) -> dict[str, Any]:
    """The columns of a run's line."""
    scores = run.report.get("scores", {}).get("evaluation", {}).get("rouge", {})
    changes = run.report.get("before and after", [])
    after = {row["number"]: row.get("after") for row in changes if isinstance(row, dict)}
    environment = run.report.get("environment", {})
    return {
        "task": run.config["task"],
        "state": "diverged" if "diverged" in run.report else "done" if run.report else "not finished",
        "step": max((record["step"] for record in run.metrics), default=None),
        "loss, nats a token": _last(run, "loss"),
        "evaluation loss, nats a token": _last(run, "evaluation/loss"),
        "ROUGE-1": _points(scores, "rouge1"),
        "ROUGE-2": _points(scores, "rouge2"),
        "reward after": after.get("reward"),
        "seed": run.config["seed"],
        "date": environment.get("date"),
        "minutes": environment.get("minutes since the program began"),
    }  # fmt: skip


def _last(run: Indexed, key: str) -> float | None:
    values = [record[key] for record in run.metrics if isinstance(record.get(key), int | float)]
    return float(values[-1]) if values else None


def _points(scores: dict[str, Any], kind: str) -> float | None:
    return 100 * scores[kind]["mean"] if kind in scores else None


def _table(runs: Sequence[Indexed]) -> str:
    facts = [_facts(run) for run in runs]
    columns = [name for name in facts[0] if any(line[name] is not None for line in facts)]
    head = "".join(f"<th>{escaped(name)}</th>" for name in ("run", *columns))
    lines = []
    for run, line in zip(runs, facts, strict=True):
        target = html.escape(f"{run.name}/report.html", quote=True)
        name = f'<a href="{target}">{escaped(run.name)}</a>' if run.report else escaped(run.name)
        cells = "".join(_cell(line[column]) for column in columns)
        lines.append(
            f'<tr><td data-value="{html.escape(run.name, quote=True)}">{name}</td>{cells}</tr>'
        )
    body = "\n".join(lines)
    return (
        f'<table class="sortable"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    )


def _cell(value: Any) -> str:
    raw = "" if value is None else html.escape(str(value), quote=True)
    kind = " class=number" if isinstance(value, int | float) else ""
    return f'<td{kind} data-value="{raw}">{escaped(shown(value))}</td>'


def _overlaid(runs: Sequence[Indexed]) -> Iterator[str]:
    """A picture of every quantity that at least one run logged, a line a run."""
    records = [
        {"step": record["step"], f"{key} of {run.name}": record[key]}
        for run in runs
        for record in run.metrics
        for key, _, _ in _CURVES
        if key in record
    ]
    panels = [Panel(f"{key} of .*", title, unit) for key, title, unit in _CURVES]
    drawing = draw_metrics(records, panels)
    if drawing is not None:
        yield "<h2>Curves</h2>"
        yield f"<figure>{inline_svg(drawing, 'curves')}</figure>"


def _differences(runs: Sequence[Indexed]) -> str:
    """The fields in which runs of one task differ: a row a field, a column a run."""
    parts = []
    for task in sorted({run.config["task"] for run in runs}):
        alike = [run for run in runs if run.config["task"] == task]
        flat = [_flatten(run.config) for run in alike]
        fields = sorted({field for one in flat for field in one})
        rows = [
            [field, *(_short(one.get(field)) for one in flat)]
            for field in fields
            if len({json.dumps(one.get(field)) for one in flat}) > 1
        ]
        if len(alike) > 1:
            parts.append(f"<h3>{escaped(task)}</h3>")
            header = ["field", *(run.name for run in alike)]
            parts.append(html_table(header, rows) if rows else "<p>They do not differ.</p>")
    return "\n".join(parts) or "<p>No two runs are of one task.</p>"


def _short(value: Any) -> str:
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        name: value
        for key, child in tree.items()
        for name, value in _flatten(child, f"{prefix}.{key}" if prefix else key).items()
    }
