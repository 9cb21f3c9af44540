"""What a trained model wrote beside another one and other runs: the `comparison` section."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath

from t5x_lite.config import load_config
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import render
from t5x_lite.errors import InputError
from t5x_lite.evaluation.comparison import Columns
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean
from t5x_lite.reports.scores import points
from t5x_lite.reports.systems import (
    CONFIDENCE,
    KINDS,
    Key,
    Scored,
    common_rows,
    differences_table,
    mean_words,
    read_systems,
    score_systems,
    side_by_side,
)
from t5x_lite.wiring.rehearsal import is_rehearsal
from t5x_lite.wiring.sections import ComparedConfig
from t5x_lite.wiring.trained_sources import (
    check_source,
    is_recipe,
    recipe_of,
    rehearse_recipe,
    trained,
)

_PUBLISHED = "published"
_RECIPES = "compared"


def check_comparison(config: ComparedConfig, beside: str) -> None:
    """Refuses what can be refused before any data is read.

    beside: what the report calls the model that the run itself sets beside the trained one.

    Raises:
      InputError: two systems of one name, a recipe that cannot be loaded or is scored on other rows, or a folder that
        holds no finished run.
    """
    section = config.comparison
    names = [beside, *(name for name, _ in section.runs), section.name]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"config.comparison: two systems are called {repeated[0]!r}; {beside!r} is the name of the model that this"
            " run sets beside its own"
        )
    for name, source in section.runs:
        where = f"config.comparison.runs, {name}"
        check_source(source, where)
        if not is_recipe(source):
            read_systems(name, source)
            continue
        recipe = load_config(recipe_of(source), {})
        if recipe.data.evaluation != config.data.evaluation:
            raise InputError(
                f"{where}: {recipe_of(source)} is scored on other rows than config.data.evaluation; give the workdir of"
                " a run that was scored on these"
            )


def run_others(
    config: ComparedConfig, rows: Sequence[Row], folder: epath.Path
) -> list[tuple[str, str]]:
    """The runs to compare with, (name, workdir): a recipe is trained first, in folder/compared/NAME.

    Raises:
      InputError: a run that was not scored on these rows, or `comparison.rows` beyond them.
    """
    section = config.comparison
    if beyond := [number for number in section.rows if number >= len(rows)]:
        raise InputError(
            f"config.comparison.rows: there is no row {beyond[0]}; {len(rows)} rows are evaluated"
        )
    wanted = keys_of(config, rows)

    def checked(name: str, workdir: str) -> tuple[str, str]:
        for system in read_systems(name, workdir):
            if missing := [key for key in wanted if key not in system.outputs]:
                raise InputError(
                    f"config.comparison.runs, {name}: {workdir} has no output for {len(missing)} of the {len(wanted)}"
                    f" rows of config.data.evaluation (the first is {missing[0].id!r})"
                )
        return name, workdir

    for name, source in section.runs:
        if not is_recipe(source):
            checked(name, source)
    if is_rehearsal():
        for _, source in section.runs:
            if is_recipe(source):
                rehearse_recipe(source, folder)
        return []
    return [
        checked(name, trained(source, folder / _RECIPES / name)) for name, source in section.runs
    ]


def keys_of(config: ComparedConfig, rows: Sequence[Row]) -> list[Key]:
    """What the rows of `data.evaluation` are called in samples.jsonl."""
    return [Key(row["id"], render(config.data.target, row)) for row in rows]


def comparison_sections(
    config: ComparedConfig,
    rows: Sequence[Row],
    folder: epath.Path,
    runs: Sequence[tuple[str, str]],
    note: str = "",
) -> dict[str, Any]:
    """The report's sections "summary", "comparison...", and "samples": every system on the same rows; {} where there is
    nothing to compare with, and for all processes but the first.

    runs: what to compare with, (name, folder of its samples.jsonl). note: what the reader is to know beside.
    """
    if jax.process_index() != 0:
        return {}
    section = config.comparison
    systems = [system for name, workdir in runs for system in read_systems(name, workdir)]
    if not systems:
        return {}
    systems += read_systems(section.name, str(folder))
    scored = score_systems(systems, common_rows(systems))
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, CONFIDENCE, config.seed)
    published = config.published
    keys = keys_of(config, rows)
    found = {
        "summary": _scores(scored, scored.columns, bootstrap, published),
        "comparison": _described(scored) + note,
        "comparison_differences": _differences(scored, scored.columns, bootstrap, published),
        "samples": side_by_side(systems, [keys[number] for number in section.rows]),
    }
    if scored.best is not None:
        found["comparison_best_reference"] = _scores(scored, scored.best, bootstrap, {})
        found["comparison_best_reference_differences"] = _differences(
            scored, scored.best, bootstrap, {}
        )
    return found


def _scores(
    scored: Scored,
    columns: Mapping[str, Columns],
    bootstrap: Bootstrap,
    published: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """A line a system, what was published of it below, and the rest of what was published."""
    lines: list[dict[str, Any]] = []
    for system in scored.systems:
        line: dict[str, Any] = {"system": system.name}
        for kind, title in KINDS.items():
            interval = bootstrap_mean(columns[system.name][kind], bootstrap, scored.clusters)
            line[title] = points(dataclasses.asdict(interval))
        words = mean_words([system.outputs[key] for key in scored.keys])
        lines.append(line | {"words": f"{words:.1f}"})
        if system.name in published:
            lines.append(_published_line(system.name, published[system.name]))
    ours = {system.name for system in scored.systems}
    return lines + [_published_line(n, each) for n, each in published.items() if n not in ours]


def _published_line(name: str, numbers: Mapping[str, float]) -> dict[str, Any]:
    given = {t: f"{100 * numbers[k]:.2f}" if k in numbers else None for k, t in KINDS.items()}
    return {"system": f"{_PUBLISHED}: {name}", **given, "words": None}


def _differences(
    scored: Scored,
    columns: Mapping[str, Columns],
    bootstrap: Bootstrap,
    published: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Each difference of two systems, and what was published of it below."""
    lines = []
    pairs = itertools.combinations([system.name for system in scored.systems], 2)
    table = differences_table(scored, columns, bootstrap)
    for (earlier, later), line in zip(pairs, table, strict=True):
        lines.append(line)
        if earlier in published and later in published:
            given = {
                title: f"{100 * (published[later][kind] - published[earlier][kind]):+.2f}"
                for kind, title in KINDS.items()
                if kind in published[later] and kind in published[earlier]
            }
            lines.append({"difference": f"{_PUBLISHED}: {line['difference']}", **given})
    return lines


def _described(scored: Scored) -> str:
    inputs = int(scored.clusters.max()) + 1
    text = (
        f"{len(scored.keys):,} rows of {inputs:,} inputs, each row against its own reference. F-measures times 100,"
        f" Porter-stemmed, plain mean with its {100 * CONFIDENCE:g} % bootstrap interval (inputs are resampled);"
        f" differences are paired by row, ✓: the whole interval is above zero, ✗: below.{scored.note()}"
    )
    if scored.best is not None:
        text += (
            " Best reference: each row against all references of its input, the best one counts."
        )
    return text
