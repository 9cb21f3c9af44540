"""Runs side by side: what they wrote for the same rows (samples.jsonl), scored anew, and the paired differences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.evaluation.baselines import group_by_input
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.evaluation.rouge import score_rows, split_sentences
from t5x_lite.reports.environment import environment
from t5x_lite.reports.report import write_report
from t5x_lite.reports.scores import NAMES, points, points_difference
from t5x_lite.tasks.outcome import log_table
from t5x_lite.tasks.workdir import claim_workdir, open_workdir

_CONFIDENCE = 0.95
_KINDS = {kind: NAMES[kind] for kind in ("rouge1", "rouge2", "rougeL")}


class Key(NamedTuple):
    """What makes a row of two runs the same one: its id alone could be another split's."""

    id: str
    reference: str


@dataclasses.dataclass(frozen=True)
class System:
    """What one model with one prompt and setting wrote: `inputs` and `outputs` by row."""

    name: str
    inputs: Mapping[Key, str]
    outputs: Mapping[Key, str]


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the task."""
    systems = [system for name, folder in config.runs for system in read_systems(name, folder)]
    names = [system.name for system in systems]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InputError(
            f"config.runs: two systems are called {repeated[0]!r}; give them names, a=DIR,b=DIR"
        )
    keys = common_rows(systems)
    folder = open_workdir(workdir, config)
    claim_workdir(folder, config)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    table = compare(systems, keys, bootstrap)
    report = {
        "title": "compare: " + ", ".join(name for name, _ in config.runs),
        "summary": (
            f"{len(keys)} rows that all systems wrote an output for. F-measures times 100, Porter-stemmed, plain mean"
            f" with its 95 % bootstrap interval; differences to {systems[0].name!r} are paired by row, ✓: the whole"
            " interval is above zero, ✗: below."
        ),
        "systems": table,
        "samples": [
            {
                "id": key.id,
                "input": systems[0].inputs[key],
                "reference": key.reference,
                **{system.name: system.outputs[key] for system in systems},
            }
            for key in keys[: config.evaluation.samples]
        ],
        "environment": environment(),
        "config": config.to_dict(),
    }
    write_report(folder, report)
    log_table(table, folder)


def read_systems(name: str, workdir: str) -> list[System]:
    """The systems of a run: one, or one for each prompt and setting that a prompting run scored.

    Raises:
      InputError: no samples.jsonl there, or lines that are not rows with an output.
    """
    file = epath.Path(workdir).expanduser() / "samples.jsonl"
    if not file.exists():
        raise InputError(
            f"config.runs, {name}: {file} is not there; give the workdir of a run that wrote texts and is finished"
        )
    inputs: dict[str, dict[Key, str]] = {}
    outputs: dict[str, dict[Key, str]] = {}
    # Not splitlines: a text may hold other line breaks than "\n".
    for number, line in enumerate(file.read_text().rstrip("\n").split("\n"), 1):
        try:
            row = json.loads(line)
            key = Key(row["id"], row["reference"])
            written = row["outputs"] if "outputs" in row else {"": row["output"]}
            for setting, text in written.items():
                system = f"{name}: {setting}" if setting else name
                inputs.setdefault(system, {})[key] = row["input"]
                outputs.setdefault(system, {})[key] = text
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file}:{number}: expected id, input, reference and output (or outputs) of a row ({error!r})"
            ) from error
    longest = max(len(rows) for rows in outputs.values())
    # A prompting run shows some settings for a few rows only: those are no system to score.
    return [
        System(system, inputs[system], rows)
        for system, rows in outputs.items()
        if len(rows) == longest
    ]


def common_rows(systems: Sequence[System]) -> list[Key]:
    """The rows of all systems, in the order of the first; how many others were left out is logged.

    Raises:
      InputError: fewer than two systems, or no row that all have.
    """
    if len(systems) < 2:
        raise InputError("config.runs: name at least two runs to compare")
    keys = [key for key in systems[0].outputs if all(key in s.outputs for s in systems[1:])]
    if not keys:
        raise InputError(
            "config.runs: no row (id and reference) is in all of "
            + ", ".join(f"{s.name} ({len(s.outputs)} rows)" for s in systems)
            + "; were they scored on the same data?"
        )
    for system in systems:
        if len(system.outputs) > len(keys):
            log.warning(
                "%s: %d of %d rows are not in every run and were left out",
                system.name,
                len(system.outputs) - len(keys),
                len(system.outputs),
            )
    return keys


def compare(
    systems: Sequence[System], keys: Sequence[Key], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """A row a system: ROUGE with intervals, and the paired differences to the first system."""
    clusters = group_by_input([systems[0].inputs[key] for key in keys])
    references = [split_sentences(key.reference) for key in keys]
    table = []
    first = None
    for system in systems:
        texts = [system.outputs[key] for key in keys]
        scores = score_rows(
            [split_sentences(text) for text in texts],
            references,
            use_stemmer=True,
            rouge_types=tuple(_KINDS),
        )
        row: dict[str, Any] = {"system": system.name}
        for kind, title in _KINDS.items():
            row[title] = points(
                dataclasses.asdict(bootstrap_mean(scores[kind], bootstrap, clusters)), 1
            )
        for kind, title in _KINDS.items():
            if first is None:
                row[f"{title} difference"] = None
            else:
                interval = paired_difference(scores[kind], first[kind], bootstrap, clusters)
                row[f"{title} difference"] = points_difference(dataclasses.asdict(interval), 1)
        row["words"] = f"{sum(len(text.split()) for text in texts) / len(texts):.1f}"
        table.append(row)
        first = first or scores
    return table
