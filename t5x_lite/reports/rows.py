"""The rows of a report by their score, the worst first: what was wanted beside what was written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from t5x_lite.errors import InputError
from t5x_lite.evaluation.comparison import Columns
from t5x_lite.reports.differences import cut, marked_pair
from t5x_lite.reports.scores import NAMES
from t5x_lite.reports.tables import Block, Heading, Paragraph, Table

ROWS = "rows by score"
_KINDS = ("rouge1", "rouge2", "rougeL")
_ALONE, _BESIDE = (20, 5), (5, 2)  # worst and best rows, of one system and of each of several


@dataclasses.dataclass(frozen=True)
class ScoredTexts:
    """What one system wrote, row by row. columns: F-measures between 0 and 1, float64 [rows] each."""

    ids: Sequence[str]
    references: Sequence[str]
    outputs: Sequence[str]
    columns: Columns


def rows_section(systems: Mapping[str, ScoredTexts]) -> dict[str, Any]:
    """The report's section "rows by score": of each system its worst rows and its best, by the first score and, where
    that is equal, by the next. Long texts are cut.
    """
    worst, best = _ALONE if len(systems) == 1 else _BESIDE
    return {ROWS: {name: _extremes(texts, worst, best) for name, texts in systems.items()}}


def read_scored(file: epath.Path) -> ScoredTexts:
    """The rows of a scored samples.jsonl.

    Raises:
      InputError: it cannot be read, or has lines that are no scored rows.
    """
    try:
        # Not splitlines: a text may hold other line breaks than "\\n".
        rows = [json.loads(line) for line in file.read_text().rstrip("\n").split("\n")]
        return ScoredTexts(
            [row["id"] for row in rows],
            [row["reference"] for row in rows],
            [row["output"] for row in rows],
            {kind: np.array([row["scores"][kind] for row in rows]) for kind in _KINDS},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected a scored row a line ({error!r})") from error


def _extremes(texts: ScoredTexts, worst: int, best: int) -> dict[str, Any]:
    kinds = [kind for kind in _KINDS if kind in texts.columns]
    count = len(texts.ids)
    order = sorted(range(count), key=lambda n: [texts.columns[kind][n] for kind in kinds])
    worst = count if count <= worst + best else worst

    def row(number: int) -> dict[str, Any]:
        return {
            "id": texts.ids[number],
            "scores": {kind: float(texts.columns[kind][number]) for kind in kinds},
            "reference": cut(texts.references[number]),
            "output": cut(texts.outputs[number]),
        }

    shown = {"worst": order[:worst], "best": order[worst:][::-1][:best]}
    return {"rows": count} | {name: [row(n) for n in numbers] for name, numbers in shown.items()}


def rows_blocks(section: Mapping[str, Any]) -> list[Block]:
    """Blocks for what `rows_section` gives, the words marked that reference and output do not share."""
    blocks: list[Block] = [
        Paragraph(
            "Scores are F-measures times 100. Marked are the words that reference and output do not have in common, in"
            " the order they come in. samples.jsonl has every row, whole and with its input."
        )
    ]
    for system, found in section.items():
        if len(section) > 1:
            blocks.append(Heading(system, 3))
        for name in ("worst", "best"):
            if rows := found[name]:
                blocks += [
                    Paragraph(f"The {name} {len(rows):,} of {found['rows']:,} rows:"),
                    _table(rows),
                ]
    return blocks


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    kinds = list(rows[0]["scores"])
    lines = [
        [
            *marked_pair(row["reference"], row["output"]),
            *(round(100 * row["scores"][kind], 1) for kind in kinds),
            row["id"],
        ]
        for row in rows
    ]
    return Table(("reference", "output", *(NAMES[kind] for kind in kinds), "row"), lines)
