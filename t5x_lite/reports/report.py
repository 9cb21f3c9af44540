"""report.json, report.md and report.html: what a run was, what it did, and how good the result is."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from t5x_lite.reports import tables
from t5x_lite.reports.metrics import json_value, read_metrics
from t5x_lite.reports.page import escaped, inline_svg, page
from t5x_lite.reports.plots import PANELS, Panel, draw_metrics, plot_metrics
from t5x_lite.reports.rows import ROWS, rows_blocks
from t5x_lite.reports.scores import scores_blocks
from t5x_lite.train.divergence import SPIKE

CURVES_FILE = "curves.png"
DIFFERS = "differs from the base"
DIVERGED = "diverged"
HEALTH = "went wrong"
WARNINGS = "warnings"
ADVICE = "What to do: a smaller schedule.learning_rate, or more schedule.warmup_steps."

# Sections come in this order, others in between by name: a reader wants results first, settings last.
_FIRST = (
    DIVERGED, HEALTH, WARNINGS, "summary", DIFFERS, "differences", "scores", "before and after", "how to read it",
    "toxicity of responses", "judges", "training", "data", "parameters",
)  # fmt: skip
_LAST = (ROWS, "samples", "environment", "config")

_WORSE = 0.1  # nats by which a loss at least has to rise, beside being doubled, to be told of
_SECTION = 2  # the level of a section's heading
_CELL = 80  # characters of a value that differs from the base


def write_report(
    workdir: epath.PathLike,
    report: Mapping[str, Any],
    panels: Sequence[Panel] = PANELS,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Writes report.json, .md and .html and, where metrics.jsonl has curves, curves.png. Process 0 only.

    `report` maps a section to its content; "title" is the heading. Anything else is shown by its form:
        a text: a paragraph;  a mapping: a table of fields (inner mappings by dotted names);
        a list of mappings: a table with a column a key;  a list of scalars: one line
        "scores": {name: the result of `evaluation.comparison.score_outputs`, and under "published" a list of
            {"name", "rouge1", "rouge2", "rougeL"} to stand beside it}
        ROWS: what `rows.rows_section` gives, in front of the samples
        "samples": a list of mappings, each shown as its own table (texts are long)
        DIFFERS: {field: (of the base, of this run)}, behind "summary" alone
        DIVERGED: how the run ended, HEALTH: skipped updates (added here, from metrics.jsonl), and WARNINGS, a list of
            texts that each say what to do, before all others

    pictures: PNGs by the section that they belong under; each is written as SECTION.png, too.

    report.json holds `report` with sorted keys and plain JSON types (`metrics.json_value`): same run, same bytes.
    """
    if jax.process_index() != 0:
        return
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    records = read_metrics(folder)
    content = json_value({**_health(records), **report})
    curves = plot_metrics(records, panels)
    files = {f"{section}.png": picture for section, picture in (pictures or {}).items()}
    if curves is not None:
        files[CURVES_FILE] = curves
    for name, picture in files.items():
        (folder / name).write_bytes(picture)
    blocks = _blocks(content, files)
    drawing = draw_metrics(records, panels)
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_bytes(f"{text}\n".encode())
    (folder / "report.md").write_bytes(_markdown(blocks).encode())
    (folder / "report.html").write_bytes(_html(content["title"], blocks, files, drawing).encode())


def _health(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The section that says how many updates were skipped, how often the loss leapt, and whether it rose.

    None where all went well.
    """
    skipped = sum(
        float(record.get("skipped", 0.0)) + float(record.get("ppo/skipped", 0.0))
        for record in records
    )
    steps = max((record["step"] for record in records), default=0)
    spikes = sum(SPIKE in record for record in records)
    said = []
    if skipped:
        said.append(
            f"{skipped:.0f} updates of {steps} steps were skipped, since their loss or gradient was not finite."
        )
    if spikes:
        said.append(f"The loss leapt {spikes} times, far above the steps before.")
    losses = [float(record["loss"]) for record in records if "loss" in record]
    if losses and losses[-1] > 2 * losses[0] and losses[-1] - losses[0] > _WORSE:
        said.append(
            f"The last loss, {losses[-1]:.4g}, is far above the first, {losses[0]:.4g}: nothing was learned."
        )
    return {HEALTH: " ".join([*said, ADVICE])} if said else {}


def _blocks(content: Mapping[str, Any], files: Mapping[str, bytes]) -> list[tables.Block]:
    """The report as headings, paragraphs and tables, before it is Markdown or HTML."""
    shown = set(content) - {"title"} | ({"training"} if CURVES_FILE in files else set())
    order = (*_FIRST, *sorted(shown - {*_FIRST, *_LAST}), *_LAST)
    blocks: list[tables.Block] = [tables.Heading(content["title"], 1)]
    for name in (name for name in order if name in shown):
        value: Any = content.get(name)
        if name not in ("summary", WARNINGS):
            blocks.append(tables.Heading(name.replace("_", " ").capitalize(), 2))
        if name == "scores":
            blocks += [block for key in sorted(value) for block in scores_blocks(key, value[key])]
        elif name == ROWS:
            blocks += rows_blocks(value)
        elif name == "samples":
            for number, sample in enumerate(value, 1):
                blocks.append(tables.Heading(f"Sample {number}", 3))
                blocks.append(tables.Table(("field", "value"), _fields(sample, sort=False)))
        elif name == DIFFERS:
            blocks.append(_differing(value))
        elif name == WARNINGS:
            blocks += [tables.Warned(text) for text in value]
        elif name == HEALTH:
            blocks.append(tables.Warned(value))
        elif value is not None:
            blocks.append(_generic(value))
        if name == "training" and CURVES_FILE in files:
            blocks.append(tables.Picture(CURVES_FILE, "Curves of the run over optimizer steps"))
        if f"{name}.png" in files:
            blocks.append(tables.Picture(f"{name}.png", name.replace("_", " ").capitalize()))
    return blocks


def _generic(value: Any) -> tables.Block:
    if isinstance(value, Mapping):
        return tables.Table(("field", "value"), _fields(value, sort=True))
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        header = tuple(dict.fromkeys(key for item in value for key in item))
        return tables.Table(header, [[item.get(key) for key in header] for item in value])
    return tables.Paragraph(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _differing(value: Mapping[str, Sequence[Any]]) -> tables.Block:
    """A line a field; long values are cut: the section "config" has them."""
    if not value:
        return tables.Paragraph("Nothing.")

    def short(item: Any) -> str:
        if item is None:
            return "—"
        text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
        return text if len(text) <= _CELL else f"{text[:_CELL]}…"

    rows = [[name, *map(short, both)] for name, both in value.items()]
    return tables.Table(("field", "base", "this run"), rows)


def _fields(value: Mapping[str, Any], *, sort: bool, prefix: str = "") -> list[list[Any]]:
    rows: list[list[Any]] = []
    for key in sorted(value) if sort else value:
        item = value[key]
        if isinstance(item, Mapping) and item:
            rows += _fields(item, sort=sort, prefix=f"{prefix}{key}.")
        elif isinstance(item, list | Mapping):
            rows.append([prefix + key, json.dumps(item, ensure_ascii=False)])
        else:
            rows.append([prefix + key, item])
    return rows


def _markdown(blocks: Sequence[tables.Block]) -> str:
    parts = []
    for block in blocks:
        match block:
            case tables.Heading(text, level):
                parts.append(f"{'#' * level} {tables.escape_markdown(text)}")
            case tables.Paragraph(text):
                parts.append(tables.escape_markdown(text))
            case tables.Warned(text):
                parts.append(f"> **Note:** {tables.escape_markdown(text)}")
            case tables.Table(header, rows):
                parts.append(tables.markdown_table(header, rows))
            case tables.Picture(file, caption):
                parts.append(f"![{caption}]({file})")
    return "\n\n".join(parts) + "\n"


def _contents(blocks: Sequence[tables.Block]) -> str:
    """Links to the sections; the samples of a long report are many screens down."""
    names = [b.text for b in blocks if isinstance(b, tables.Heading) and b.level == _SECTION]
    links = (
        f'<a href="#section-{number}">{escaped(name)}</a>' for number, name in enumerate(names, 1)
    )
    return f"<nav>{' · '.join(links)}</nav>"


def _html(
    title: str, blocks: Sequence[tables.Block], files: Mapping[str, bytes], drawing: bytes | None
) -> str:
    """drawing: the curves as SVG, which take the page's colors."""
    parts = []
    sections = 0
    for block in blocks:
        match block:
            case tables.Heading(text, level) if level == _SECTION:
                sections += 1
                parts.append(f'<h{level} id="section-{sections}">{escaped(text)}</h{level}>')
            case tables.Heading(text, level):
                parts.append(f"<h{level}>{escaped(text)}</h{level}>")
                if level == 1:
                    parts.append(_contents(blocks))
            case tables.Paragraph(text):
                parts.append(f"<p>{escaped(text)}</p>")
            case tables.Warned(text):
                parts.append(f'<p class="warning">{escaped(text)}</p>')
            case tables.Table(header, rows):
                parts.append(tables.html_table(header, rows))
            case tables.Picture(file, caption) if file == CURVES_FILE and drawing:
                parts.append(f"<figure>{inline_svg(drawing, 'curves')}</figure>")
            case tables.Picture(file, caption):
                # Inside the page, so that it can be sent to someone.
                data = base64.b64encode(files[file]).decode()
                parts.append(
                    f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                )
    return page(title, "\n".join(parts))
