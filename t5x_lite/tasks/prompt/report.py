"""The report of the task `prompt`: scores by prompt kind, the side-by-side table, and what the prompts lost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.data.groups import Drawn, drawn
from t5x_lite.data.prompts import template_text
from t5x_lite.data.sections import RowsSettings
from t5x_lite.data.sources import Row, is_file
from t5x_lite.data.templates import render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.evaluation.beside_rouge import load_metrics
from t5x_lite.evaluation.comparison import Columns
from t5x_lite.evaluation.intervals import Bootstrap, paired_difference
from t5x_lite.reports.intervals_plot import plot_intervals
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.rows import ScoredTexts, rows_section
from t5x_lite.reports.scores import BESIDE, NAMES, points, points_difference
from t5x_lite.tasks.prompt.sections import Config
from t5x_lite.wiring.scoring import LEAD_TURNS, score_texts

_CONFIDENCE = 0.95
_LEAD = f"lead_{LEAD_TURNS}"
_KINDS = {kind: NAMES[kind] for kind in ("rouge1", "rouge2", "rougeL")}


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a run gave: answers by row number, and the texts they were taken from (of a chain of thought, all of it)."""

    name: str
    scored: bool
    answers: Mapping[int, str]
    texts: Mapping[int, str]


@dataclasses.dataclass(frozen=True)
class Answered:
    """Rows, and what the runs gave for them. shown: the numbers of the rows of the side-by-side table."""

    rows: list[Row]
    shown: list[int]
    outputs: list[Outputs]


def report_prompts(
    config: Config,
    workdir: epath.Path,
    vocabulary: Vocabulary,
    answered: Answered,
    sections: Mapping[str, Any],
) -> None:
    """Scores the runs over all rows, and writes samples.jsonl and the report (process 0 writes; all score)."""
    rows, outputs = answered.rows, answered.outputs
    inputs = [row[config.data.cut_field] for row in rows]
    references = [render(config.data.target, row) for row in rows]
    field = config.data.cut_field
    asked = [template_text(prompt, field) for prompt in config.prompts.values()]
    belonging = drawn(rows, asked, field)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    scores, columns = _scores(config, outputs, references, inputs, bootstrap, belonging)
    if jax.process_index() != 0:
        return
    published = config.published
    first = next(iter(scores.values()))
    of_lead = {key: each["baselines"][_LEAD] for key, each in first.get(BESIDE, {}).items()}
    others: dict[str, Mapping[str, float]] = {
        f"baseline {_LEAD}": {**first["baselines"][_LEAD], **of_lead}
    }
    others |= {f"published: {name}": numbers for name, numbers in published.items()}
    overview = _overview(scores, others)
    systems = {name: result["rouge"] for name, result in scores.items()}
    _write_samples(workdir, rows, inputs, references, outputs)
    ids = [row["id"] for row in rows]
    texts = {
        run.name: ScoredTexts(ids, references, _answers(run, len(rows)), columns[run.name])
        for run in outputs
        if run.scored
    }
    shown = [_sample(i, rows[i], inputs[i], references[i], outputs) for i in answered.shown]
    report_run(
        config,
        workdir,
        f"{config.model.source}, prompted: {_name_of(config.data.evaluation)}",
        {
            "summary": overview,
            **_differences(columns, belonging.groups, bootstrap),
            "scores": scores,
            **sections,
            "round trip": _round_trip(config.round_trip, vocabulary),
            **({"published": published} if published else {}),
            **rows_section(texts),
            "samples": shown,
        },
        table=overview,
        words=f"{len(rows)} rows",
        pictures={"summary": plot_intervals(systems, _KINDS, list(others.items()))},
    )


def _answers(run: Outputs, count: int) -> list[str]:
    return [run.answers[i] for i in range(count)]


def _scores(
    config: Config,
    outputs: list[Outputs],
    references: list[str],
    inputs: list[str],
    bootstrap: Bootstrap,
    belonging: Drawn,
) -> tuple[dict[str, dict[str, Any]], dict[str, Columns]]:
    """Of each scored run the result of `evaluation.comparison.score_outputs` with the scores beside ROUGE, and the
    rows' ROUGE."""
    scores, columns = {}, {}
    metrics = load_metrics(config.evaluation)
    for run in outputs:
        if run.scored:
            texts = _answers(run, len(references))
            scores[run.name], columns[run.name] = score_texts(
                metrics, texts, references, inputs, belonging, bootstrap
            )
    return scores, columns


def _name_of(rows: RowsSettings) -> str:
    """What rows are called in a title: a file's name says more than its folders."""
    source = rows.source.rpartition("/")[2] if is_file(rows.source) else rows.source
    return f"{source} {rows.split}".strip()


def _differences(
    columns: Mapping[str, Columns], groups: np.ndarray, bootstrap: Bootstrap
) -> dict[str, list[dict[str, str]]]:
    """The section that says which runs can be told apart from the first one: paired by row. None for a single run."""
    (first, theirs), *others = columns.items()
    lines = [
        {
            f"minus {first}": name,
            **{
                title: points_difference(
                    dataclasses.asdict(
                        paired_difference(ours[kind], theirs[kind], bootstrap, groups)
                    )
                )
                for kind, title in _KINDS.items()
            },
        }
        for name, ours in others
    ]
    return {"differences": lines} if lines else {}


def _overview(
    scores: Mapping[str, Any], others: Mapping[str, Mapping[str, float]]
) -> list[dict[str, str | None]]:
    """A line for each run, and for each of the others (the lead baseline, published results), which have no interval:
    scores times 100.
    """
    lines: list[dict[str, str | None]] = [
        {
            "prompt, settings": name,
            **{title: points(result["rouge"][kind]) for kind, title in _KINDS.items()},
            **{each["name"]: points(each["score"]) for each in result.get(BESIDE, {}).values()},
            "words": f"{result['outputs']['mean_words']:.1f}",
        }
        for name, result in scores.items()
    ]
    beside = next(iter(scores.values())).get(BESIDE, {})
    titles = _KINDS | {key: each["name"] for key, each in beside.items()}
    for name, numbers in others.items():
        given = {
            title: f"{100 * numbers[kind]:.2f}" if kind in numbers else None
            for kind, title in titles.items()
        }
        lines.append({"prompt, settings": name, **given, "words": None})
    return lines


def _sample(
    number: int, row: Row, text: str, reference: str, outputs: list[Outputs]
) -> dict[str, Any]:
    """One row of the side-by-side table."""
    sample = {"row": number, "id": row["id"], "dialogue": text, "human summary": reference}
    for run in outputs:
        if number in run.answers:
            sample[run.name] = run.answers[number]
            if run.texts[number] != run.answers[number]:
                sample[f"{run.name} (with its reasoning)"] = run.texts[number]
    return sample


def _round_trip(text: str, vocabulary: Vocabulary) -> dict[str, Any]:
    ids = vocabulary.encode([text], add_eos=True)[0]
    return {"text": text, "tokens": ids, "decoded": vocabulary.decode([ids])[0]}


def _write_samples(
    workdir: epath.Path,
    rows: list[Row],
    inputs: list[str],
    references: list[str],
    outputs: list[Outputs],
) -> None:
    lines = [
        {
            "id": row["id"],
            "input": inputs[i],
            "reference": references[i],
            "outputs": {run.name: run.answers[i] for run in outputs if i in run.answers},
        }
        for i, row in enumerate(rows)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    fresh = workdir / "samples.jsonl.new"
    fresh.write_bytes(text.encode())
    fresh.replace(workdir / "samples.jsonl")
