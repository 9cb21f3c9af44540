"""The scores section of a report: ROUGE with intervals, beside baselines, differences and published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5x_lite.reports.tables import Block, Heading, Paragraph, Table

NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}

_ENDS = ("mean", "low", "high")


def scores_blocks(name: str, result: Mapping[str, Any]) -> list[Block]:
    """Blocks for one result of `evaluation.comparison.score_outputs`; scores times 100, as papers print them."""
    kinds = list(result["rouge"])
    settings, outputs = result["intervals"], result["outputs"]
    percent = f"{100 * settings['confidence']:g} %"
    stemmed = "Porter-stemmed" if result["use_stemmer"] else "not stemmed"

    rows: list[list[str | None]] = [
        ["this model", *(points(result["rouge"][kind]) for kind in kinds)]
    ]
    if "rouge_multi_reference" in result:
        scores = result["rouge_multi_reference"]
        rows.append(
            ["this model, best of its references", *(points(scores[kind]) for kind in kinds)]
        )
    for baseline, scores in result["baselines"].items():
        rows.append([f"baseline {baseline}", *(f"{100 * scores[kind]:.2f}" for kind in kinds)])
    for other in result.get("published", []):
        numbers = (other.get(kind) for kind in kinds)
        rows.append([other["name"], *(None if n is None else f"{100 * n:.2f}" for n in numbers)])
    blocks: list[Block] = [
        Heading(name, 3),
        Paragraph(
            f"{result['rows']:,} rows of {result['inputs']:,} inputs; F-measures times 100, {stemmed}, "
            f"plain mean of the rows ({percent} bootstrap interval, {settings['resamples']:,} resamples of "
            + (f"{result['groups']:,} groups of inputs). " if "groups" in result else "inputs). ")
            + f"Outputs: {outputs['distinct']:,} distinct, "
            f"{outputs['empty']:,} empty, {outputs['mean_words']:.1f} words on average."
            + (f" Words by {result['tokenizer']}." if "tokenizer" in result else "")
        ),
        Table(("system", *(NAMES[kind] for kind in kinds)), rows),
    ]
    if result["differences"]:
        blocks += [
            Paragraph(
                f"Differences to the baselines, paired by row ({percent} interval). "
                "✓: the whole interval is above zero; ✗: below; neither: not told apart."
            ),
            Table(
                ("this model minus", *(NAMES[kind] for kind in kinds)),
                [
                    [baseline, *(points_difference(intervals[kind]) for kind in kinds)]
                    for baseline, intervals in result["differences"].items()
                ],
            ),
        ]
    if "constant_texts" in result:
        blocks += [
            Paragraph("The best constant text for each score, searched on training summaries:"),
            Table(
                ("score", "text"),
                [[NAMES[k], text] for k, text in result["constant_texts"].items()],
            ),
        ]
    return blocks


def points(scores: Mapping[str, float], decimals: int = 2, sign: str = "") -> str:
    """{"mean", "low", "high"} between 0 and 1, times 100, as "38.02 (36.51, 39.30)"; sign: "+" shows it.

    >>> points({"mean": 0.5, "low": 0.25, "high": 0.75}, 1).replace(chr(0xA0), " ")
    '50.0 (25.0, 75.0)'
    """
    mean, low, high = (f"{100 * scores[name]:{sign}.{decimals}f}" for name in _ENDS)
    return f"{mean} ({low},\u00a0{high})"  # no line may break inside the parentheses


def points_difference(scores: Mapping[str, float], decimals: int = 2) -> str:
    """As `points`, with its sign, and ✓ where the whole interval is above zero, ✗ where it is below."""
    mark = " ✓" if scores["low"] > 0 else " ✗" if scores["high"] < 0 else ""
    return points(scores, decimals, "+").replace(" ", f"{mark} ", 1)
