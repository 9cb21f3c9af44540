"""What the task `prompt` asks: every prompt kind, built for every row."""

from __future__ import annotations

import dataclasses

from t5x_lite.data.prompts import DenseRetrieval, FewShot, Prompt, template_text, warn_of_leaks
from t5x_lite.data.prompts_build import Budget, Built, build_prompts, pick_shots
from t5x_lite.data.retrieval import Embed
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.embedding.encoder import load_encoder
from t5x_lite.errors import InputError
from t5x_lite.tasks.prompt.runs import check_name
from t5x_lite.tasks.prompt.sections import Config
from t5x_lite.wiring.text import read_rows


@dataclasses.dataclass(frozen=True)
class Asked:
    """A prompt kind with the prompts that it makes of all rows."""

    prompt: Prompt
    built: Built
    counts: dict[str, int]


def check_prompts(config: Config) -> None:
    """Refuses prompts whose templates have fields that are no columns of the rows.

    Raises:
      InputError: a field that is no column; a name that cannot be part of a file's.
    """
    columns = {"id", *config.data.evaluation.columns}
    field = config.data.cut_field
    wanted = {name: "config.data.target" for name in find_template(config.data.target).fields}
    wanted[field] = "config.data.cut_field"
    for name, prompt in config.prompts.items():
        check_name(f"config.prompts.{name}", name)
        where = f"config.prompts.{name}"
        for wants in Template(template_text(prompt, field)).fields:
            if wants != "documents":
                wanted.setdefault(wants, f"{where}.template")
    for wants, where in wanted.items():
        if wants not in columns:
            raise InputError(
                f"{where} names {wants!r}, but config.data.evaluation.columns has"
                f" {', '.join(config.data.evaluation.columns)}: say which column it is"
            )


def check_shown(config: Config, rows: list[Row]) -> list[int]:
    """The numbers of the rows of the side-by-side table.

    Raises:
      InputError: a number that no row has.
    """
    for number in config.side_by_side.rows:
        if number >= len(rows):
            raise InputError(
                f"config.side_by_side.rows: there is no row {number} among the {len(rows)} evaluated rows"
            )
    return list(dict.fromkeys(config.side_by_side.rows))


def ask(config: Config, rows: list[Row], vocabulary: Vocabulary) -> dict[str, Asked]:
    """The prompts that the runs use, built, with warnings of what was dropped and of leaks."""
    data = config.data
    used = dict.fromkeys(name for name, _ in (*config.runs, *config.side_by_side.runs))
    source: list[Row] = []
    if any(isinstance(config.prompts[name], FewShot) for name in used):
        source = read_rows(data.shots, "shots")
    same_split = (data.shots.source, data.shots.split) == (
        data.evaluation.source,
        data.evaluation.split,
    )
    asked = {}
    for name in used:
        shots = pick_shots(config.prompts[name], source, f"config.prompts.{name}")
        built = build_prompts(
            config.prompts[name],
            rows,
            vocabulary,
            shots=shots,
            target=data.target,
            field=data.cut_field,
            budget=Budget(data.encoder_length, data.truncation, name),
            embed=_embed_of(config.prompts[name]),
        )
        counts = dict(built.counts)
        if shots:
            counts |= warn_of_leaks(
                shots, rows, field=data.cut_field, same_split=same_split, name=name
            )
        asked[name] = Asked(config.prompts[name], built, counts)
    return asked


def _embed_of(prompt: Prompt) -> Embed | None:
    """What makes the vectors that passages are found by, where they are found so."""
    return load_encoder(prompt.encoder).embed if isinstance(prompt, DenseRetrieval) else None
