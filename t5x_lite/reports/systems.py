"""Systems: what one model with one prompt and setting wrote for rows (samples.jsonl), scored on the rows they share."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.evaluation.baselines import group_by_input
from t5x_lite.evaluation.comparison import Columns, rouge_tokenizer
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.evaluation.rouge import score_rows, split_sentences
from t5x_lite.reports.rows import ScoredTexts
from t5x_lite.reports.scores import NAMES, points, points_difference

SAMPLES_FILE = "samples.jsonl"
CONFIDENCE = 0.95
KINDS = {kind: NAMES[kind] for kind in ("rouge1", "rouge2", "rougeL")}


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


@dataclasses.dataclass(frozen=True)
class Scored:
    """Systems on the rows that they share.

    keys: the rows, in order. clusters: int [rows], the input that each row is of.
    columns: F-measures by system, of each row against its own reference.
    best: the same against the best reference of the row's input; None where no input has several.
    """

    systems: Sequence[System]
    keys: Sequence[Key]
    clusters: np.ndarray
    columns: Mapping[str, Columns]
    best: Mapping[str, Columns] | None

    def texts_of(self, system: System) -> ScoredTexts:
        """A system's texts with their scores against the row's own reference."""
        return ScoredTexts(
            [key.id for key in self.keys],
            [key.reference for key in self.keys],
            [system.outputs[key] for key in self.keys],
            self.columns[system.name],
        )

    def note(self) -> str:
        """A sentence for the report where a text has letters that `rouge_score` drops: whose words were counted."""
        outputs = [system.outputs[key] for system in self.systems for key in self.keys]
        said = rouge_tokenizer([*outputs, *(key.reference for key in self.keys)])
        return f" Words by {said['tokenizer']}." if said else ""


def read_systems(name: str, workdir: str, file_name: str = SAMPLES_FILE) -> list[System]:
    """The systems of a run: one, or one for each prompt and setting that a prompting run scored.

    Raises:
      InputError: no such file there, or lines that are not rows with an output.
    """
    file = epath.Path(workdir).expanduser() / file_name
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
      InputError: fewer than two systems, two of one name, or no row that all have.
    """
    names = [system.name for system in systems]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InputError(
            f"config.runs: two systems are called {repeated[0]!r}; give them names, a=DIR,b=DIR"
        )
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


def score_systems(systems: Sequence[System], keys: Sequence[Key]) -> Scored:
    """ROUGE of every system on these rows, Porter-stemmed."""
    clusters = group_by_input([systems[0].inputs[key] for key in keys])
    references = [split_sentences(key.reference) for key in keys]
    of_input: dict[int, list[str]] = {}
    for cluster, reference in zip(clusters.tolist(), references, strict=True):
        of_input.setdefault(cluster, []).append(reference)
    several = [of_input[cluster] for cluster in clusters.tolist()]

    def against(wanted: Sequence[Any]) -> dict[str, Columns]:
        return {
            system.name: score_rows(
                [split_sentences(system.outputs[key]) for key in keys],
                wanted,
                use_stemmer=True,
                rouge_types=tuple(KINDS),
            )
            for system in systems
        }

    best = against(several) if len(of_input) < len(keys) else None
    return Scored(systems, keys, clusters, against(references), best)


def systems_table(
    scored: Scored, columns: Mapping[str, Columns], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """A row a system: ROUGE with intervals, and the paired differences to the first system.

    columns: `scored.columns` or `scored.best`.
    """
    table = []
    first = columns[scored.systems[0].name]
    for system in scored.systems:
        scores = columns[system.name]
        row: dict[str, Any] = {"system": system.name}
        for kind, title in KINDS.items():
            interval = bootstrap_mean(scores[kind], bootstrap, scored.clusters)
            row[title] = points(dataclasses.asdict(interval), 1)
        for kind, title in KINDS.items():
            if scores is first:
                row[f"{title} difference"] = None
            else:
                interval = paired_difference(scores[kind], first[kind], bootstrap, scored.clusters)
                row[f"{title} difference"] = points_difference(dataclasses.asdict(interval), 1)
        row["words"] = f"{mean_words([system.outputs[key] for key in scored.keys]):.1f}"
        table.append(row)
    return table


def side_by_side(systems: Sequence[System], keys: Sequence[Key]) -> list[dict[str, str]]:
    """What each system wrote for these rows, below input and reference."""
    return [
        {
            "id": key.id,
            "input": systems[0].inputs[key],
            "reference": key.reference,
            **{system.name: system.outputs[key] for system in systems},
        }
        for key in keys
    ]


def mean_words(texts: Sequence[str]) -> float:
    """Words of a text on average."""
    return sum(len(text.split()) for text in texts) / len(texts)


def differences_table(
    scored: Scored, columns: Mapping[str, Columns], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """A row for each two systems: the later minus the earlier, paired by row.

    columns: `scored.columns` or `scored.best`.
    """
    rows = []
    for earlier, later in itertools.combinations([system.name for system in scored.systems], 2):
        row: dict[str, Any] = {"difference": f"{later} minus {earlier}"}
        for kind, title in KINDS.items():
            interval = paired_difference(
                columns[later][kind], columns[earlier][kind], bootstrap, scored.clusters
            )
            row[title] = points_difference(dataclasses.asdict(interval))
        rows.append(row)
    return rows
