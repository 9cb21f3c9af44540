"""A mixture's tasks: each one's rows, its examples under each of its templates, its share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from t5x_lite.data.features import ExampleSource, make_examples
from t5x_lite.data.groups import GROUP
from t5x_lite.data.mixture import Mixture, temperature_rates
from t5x_lite.data.sections import MixedTaskSettings
from t5x_lite.data.shots import SHOTS_FIELD, with_shots
from t5x_lite.data.sources import Row, warn_of_shared_rows
from t5x_lite.data.span_corruption import make_span_corruption
from t5x_lite.data.templates import find_template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.tasks.mixture.sections import DataSettings
from t5x_lite.wiring.text import Split, read_rows

BY_SIZE = "size"
_DENOISING = "denoising"


@dataclasses.dataclass(frozen=True)
class TaskRows:
    """A task's rows; `train` is empty where the task is only scored (a rate of 0) and shows no shots."""

    train: list[Row]
    evaluation: list[Row]


def check_tasks(data: DataSettings, watched: str | None = None) -> None:
    """Refuses what can be refused before any file is read.

    watched: `evaluation.task`, whose loss is computed while training.

    Raises:
      InputError: no task that is trained, rates by size beside rates in numbers, a template whose fields the columns
        do not have, or no task of the name that is to be watched.
    """
    if watched is not None and watched not in data.tasks:
        raise InputError(
            f"config.evaluation.task: there is no task {watched!r}; there are {', '.join(sorted(data.tasks))}"
        )
    rates = {name: task.rate for name, task in data.tasks.items()}
    trained = {name: rate for name, rate in rates.items() if rate != 0}
    if not trained and not data.denoising.rate:
        raise InputError("config.data.tasks: every rate is 0, so there is nothing to train on")
    by_size = [name for name, rate in trained.items() if rate == BY_SIZE]
    if by_size and (len(by_size) < len(trained) or data.denoising.rate):
        raise InputError(
            f"config.data.tasks.{by_size[0]}.rate is {BY_SIZE!r}, others are numbers: give all of them (and"
            f" config.data.denoising.rate, which has no {BY_SIZE!r}) in one way"
        )
    for name, task in data.tasks.items():
        where = f"config.data.tasks.{name}"
        if not task.templates:
            raise InputError(f"{where}.templates: give at least one")
        for section in ("train", "evaluation"):
            columns = getattr(task, section).columns
            for text in (*task.templates, task.target, f"{{{task.cut_field}}}"):
                for field in find_template(text).fields:
                    if field not in columns and field not in ("id", SHOTS_FIELD):
                        raise InputError(
                            f"{where}: {text!r} has a field {field!r}, but {where}.{section}.columns has"
                            f" {', '.join(columns) or 'nothing'}: say which column it is"
                        )
    if data.denoising.rate:
        denoised = data.tasks.get(data.denoising.task)
        if denoised is None:
            raise InputError(
                f"config.data.denoising.task: there is no task {data.denoising.task!r}; there are"
                f" {', '.join(sorted(data.tasks))}"
            )
        if data.denoising.field not in denoised.train.columns:
            raise InputError(
                f"config.data.denoising.field: config.data.tasks.{data.denoising.task}.train.columns has no"
                f" {data.denoising.field!r}"
            )


def read_tasks(data: DataSettings) -> dict[str, TaskRows]:
    """Every task's rows.

    Raises:
      InputError: as `data.sources.load_rows`.
    """
    tasks = {}
    for name, task in data.tasks.items():
        denoised = data.denoising.rate and data.denoising.task == name
        needed = task.rate != 0 or task.shots or denoised
        rows = TaskRows(
            read_rows(task.train, f"tasks.{name}.train") if needed else [],
            read_rows(task.evaluation, f"tasks.{name}.evaluation"),
        )
        if rows.train:
            warn_of_shared_rows(rows.evaluation, rows.train, task.cut_field)
        tasks[name] = rows
    return tasks


def make_mixture(
    data: DataSettings, tasks: dict[str, TaskRows], vocabulary: Vocabulary, *, seed: int
) -> Mixture:
    """The mixture of all tasks whose rate is not 0, each template an equal part of its task's share."""
    sources: dict[str, ExampleSource] = {}
    rates: dict[str, float] = {}
    trained = {name: tasks[name] for name, task in data.tasks.items() if task.rate != 0}
    by_size = temperature_rates(
        {name: len(rows.train) for name, rows in trained.items()},
        temperature=data.temperature,
        maximum=data.maximum,
    )
    for name, rows in trained.items():
        task = data.tasks[name]
        rate = by_size[name] if isinstance(task.rate, str) else task.rate
        for number, template in enumerate(task.templates):
            key = name if len(task.templates) == 1 else f"{name} {number}"
            sources[key] = _examples(
                data, task, rows.train, rows.train, template, vocabulary, key, seed + number
            )
            rates[key] = rate / len(task.templates)
    denoising = data.denoising
    if denoising.rate:
        texts = [row[denoising.field] for row in tasks[denoising.task].train]
        sources[_DENOISING] = make_span_corruption(
            texts, vocabulary, denoising, encoder_length=denoising.encoder_length, seed=seed,
            name=_DENOISING,
        )  # fmt: skip
        rates[_DENOISING] = denoising.rate
    return Mixture(sources, rates)


def evaluation_splits(
    data: DataSettings, tasks: dict[str, TaskRows], vocabulary: Vocabulary, *, seed: int
) -> dict[str, Split]:
    """Every task's evaluation rows under its first template, with shots (if it has any) from its training rows."""
    splits = {}
    for name, task in data.tasks.items():
        rows, of = tasks[name], f"{name} evaluation"
        examples = _examples(
            data, task, rows.evaluation, rows.train, task.templates[0], vocabulary, of, seed
        )
        splits[name] = Split(rows.evaluation, examples)
    return splits


def all_texts(data: DataSettings, tasks: dict[str, TaskRows]) -> list[str]:
    """What a tokenizer of the run's own is trained on: the templates' words and every text of the training rows."""
    texts: dict[str, None] = {}
    for task in tasks.values():
        for row in task.train:
            texts.update(dict.fromkeys(v for key, v in row.items() if key not in ("id", GROUP)))
    # Instructions are as frequent as rows when the model reads them; a hundred times is enough to be whole pieces.
    instructions = [
        find_template(text).text.replace("{", " ").replace("}", " ")
        for task in data.tasks.values()
        for text in task.templates
    ]
    return [*texts, *(instructions * 100)]


def _examples(
    data: DataSettings,
    task: MixedTaskSettings,
    rows: Sequence[Row],
    solved: Sequence[Row],
    template: str,
    vocabulary: Vocabulary,
    name: str,
    seed: int,
) -> Any:
    text = find_template(template).text
    if task.shots:
        rows = with_shots(
            rows, solved, task.shots, template=template, target=task.target, seed=seed, name=name
        )
        text = f"{{{SHOTS_FIELD}}}{text}"
    return make_examples(
        rows,
        vocabulary,
        template=text,
        target=task.target,
        encoder_length=data.encoder_length,
        decoder_length=data.decoder_length,
        truncation=data.truncation,
        cut_field=task.cut_field,
        name=name,
    )
