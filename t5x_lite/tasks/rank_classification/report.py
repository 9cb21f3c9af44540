"""The report of rank classification, and a line a row: its choices with their log-probabilities."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.data.groups import group_numbers
from t5x_lite.data.sources import Row
from t5x_lite.evaluation.choice_scores import ChoiceScores
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.rank_classification import MEAN, SUM, chosen, rank_scores
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.scores import points, points_difference
from t5x_lite.tasks.rank_classification.choices import Choices
from t5x_lite.tasks.rank_classification.sections import Config

_CONFIDENCE = 0.95
_TITLES = {SUM: "sum of log-probabilities", MEAN: "mean of log-probabilities, a token"}
_ANSWERS = 20  # that the table of answers has


def report(
    config: Config,
    folder: epath.Path,
    rows: Sequence[Row],
    choices: Choices,
    scores: Sequence[ChoiceScores],
) -> None:
    """Writes samples.jsonl and the report, and logs the accuracy. Process 0 only."""
    if jax.process_index() != 0:
        return
    answers = [
        own[number] if choices.alike else f"choice {number}"
        for own, number in zip(choices.texts, choices.gold.tolist(), strict=True)
    ]
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    groups = group_numbers(rows, (config.data.cut_field,))
    result = rank_scores(scores, choices.gold, answers, bootstrap, groups)
    lines = _lines(config, rows, choices, scores)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    fresh = folder / "samples.jsonl.new"
    fresh.write_bytes(text.encode())
    fresh.replace(folder / "samples.jsonl")
    table = _table(result)
    report_run(
        config,
        folder,
        f"{config.model.source}, choosing: {config.data.evaluation.source}",
        {
            "summary": table,
            "rank classification": result,
            **({"answers": _of_answers(choices, scores)} if choices.alike else {}),
            "samples": [_sample(line) for line in lines[: config.evaluation.samples]],
        },
        table=table,
        words=f"{len(rows)} rows",
    )


def _table(result: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """The report's first table: accuracy times 100 by either score, of the majority's answer, and of guessing."""
    majority, minus = result["majority"], "minus the majority"
    lines: list[dict[str, str | None]] = [
        {
            "chosen by": _TITLES[by],
            "accuracy": points(result["accuracy"][by]),
            minus: points_difference(result["differences"][by]),
        }
        for by in (SUM, MEAN)
    ]
    for name, value in (
        (f"majority: always {majority['answer']!r}", majority["accuracy"]),
        ("chance", result["chance"]),
    ):
        lines.append({"chosen by": name, "accuracy": f"{100 * value:.2f}", minus: None})
    return lines


def _of_answers(choices: Choices, scores: Sequence[ChoiceScores]) -> list[dict[str, Any]]:
    """Of the most frequent answers: how often each was right, chosen, and both."""
    picked, texts = chosen(scores, SUM), choices.texts[0]
    times = Counter(picked.tolist())
    return [
        {
            "answer": texts[number],
            "rows": rows,
            "chosen": times[number],
            "rightly": int(np.sum((picked == number) & (choices.gold == number))),
        }
        for number, rows in Counter(choices.gold.tolist()).most_common(_ANSWERS)
    ]


def _lines(
    config: Config, rows: Sequence[Row], choices: Choices, scores: Sequence[ChoiceScores]
) -> list[dict[str, Any]]:
    """A line a row, with `reference` and `output` (the choice of the largest sum), as runs that generate write them."""
    by_sum, by_mean = chosen(scores, SUM), chosen(scores, MEAN)
    return [
        {
            "id": row["id"],
            "input": row[config.data.cut_field],
            "reference": own[gold],
            "output": own[by_sum[number]],
            "output by mean": own[by_mean[number]],
            "choices": list(own),
            "logprobs": [round(value, 6) for value in each.logprobs.tolist()],
            "tokens": each.tokens.tolist(),
        }
        for number, (row, own, gold, each) in enumerate(
            zip(rows, choices.texts, choices.gold.tolist(), scores, strict=True)
        )
    ]


def _sample(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a report shows of a line: the likeliest choices, the first of them first."""
    order = np.argsort(-np.array(line["logprobs"]), kind="stable")[:5]
    likeliest = "\n".join(
        f"{line['choices'][number]} ({line['logprobs'][number]:.2f} nats, {line['tokens'][number]} tokens)"
        for number in order
    )
    return {
        **{name: line[name] for name in ("id", "input", "reference", "output", "output by mean")},
        "likeliest": likeliest,
    }
