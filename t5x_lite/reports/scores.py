"""The scores section of a report: ROUGE with intervals, beside baselines, differences and published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5x_lite.reports.tables import Block, Heading, Paragraph, Table

NAMES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}

BESIDE = "beside_rouge"

_ENDS = ("mean", "low", "high")


def scores_blocks(name: str, result: Mapping[str, Any]) -> list[Block]:
    """Blocks for one result of `evaluation.comparison.score_outputs`, with what `evaluation.beside_rouge` put into it;
    scores times 100, as papers print them.
    """
    beside = result.get(BESIDE, {})
    names = [
        *(NAMES[kind] for kind in result["rouge"]),
        *(each["name"] for each in beside.values()),
    ]
    blocks: list[Block] = [
        Heading(name, 3),
        Paragraph(_described(result)),
        Table(("system", *names), _systems(result)),
        *(Paragraph(_described_beside(each)) for each in beside.values()),
    ]
    if result["differences"]:
        percent = f"{100 * result['intervals']['confidence']:g} %"
        blocks += [
            Paragraph(
                f"Differences to the baselines, paired by row ({percent} interval). "
                "✓: the whole interval is above zero; ✗: below; neither: not told apart."
            ),
            Table(
                ("this model minus", *names),
                [
                    [
                        baseline,
                        *(points_difference(interval) for interval in intervals.values()),
                        *(
                            points_difference(each["differences"][baseline])
                            if baseline in each["differences"]
                            else None
                            for each in beside.values()
                        ),
                    ]
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


def _described(result: Mapping[str, Any]) -> str:
    """Of how many rows the scores are, how they were computed, and what the outputs look like."""
    settings, outputs = result["intervals"], result["outputs"]
    stemmed = "Porter-stemmed" if result["use_stemmer"] else "not stemmed"
    return (
        f"{result['rows']:,} rows of {result['inputs']:,} inputs; F-measures times 100, {stemmed}, "
        f"plain mean of the rows ({100 * settings['confidence']:g} % bootstrap interval,"
        f" {settings['resamples']:,} resamples of "
        + (f"{result['groups']:,} groups of inputs). " if "groups" in result else "inputs). ")
        + f"Outputs: {outputs['distinct']:,} distinct, "
        f"{outputs['empty']:,} empty, {outputs['mean_words']:.1f} words on average."
        + (f" Words by {result['tokenizer']}." if "tokenizer" in result else "")
    )


def _described_beside(metric: Mapping[str, Any]) -> str:
    """How a score beside ROUGE was computed, and the parts that it is made of."""
    parts = "".join(f"; {name} {points(part)}" for name, part in metric["parts"].items())
    return f"{metric['name']} of the whole corpus, times 100: {metric['described']}{parts}."


def _systems(result: Mapping[str, Any]) -> list[list[str | None]]:
    """The rows of the table: this model, the baselines, and what others published."""
    kinds, beside = list(result["rouge"]), result.get(BESIDE, {})
    rows: list[list[str | None]] = [
        [
            "this model",
            *(points(result["rouge"][kind]) for kind in kinds),
            *(points(each["score"]) for each in beside.values()),
        ]
    ]
    if "rouge_multi_reference" in result:
        scores = result["rouge_multi_reference"]
        best = (points(scores[kind]) for kind in kinds)
        rows.append(["this model, best of its references", *best, *(None for _ in beside)])
    others = {f"baseline {name}": dict(scores) for name, scores in result["baselines"].items()}
    for key, each in beside.items():
        for name, score in each["baselines"].items():
            others[f"baseline {name}"][key] = score
    others |= {other["name"]: other for other in result.get("published", [])}
    for name, numbers in others.items():
        given = (numbers.get(key) for key in (*kinds, *beside))
        rows.append([name, *(None if n is None else f"{100 * n:.2f}" for n in given)])
    return rows


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
