"""Prompting a model as it is, over whole splits: prompt kinds x decoding settings -> texts -> scores -> report."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from t5x_lite.data.prompts import (
    ChainOfThought,
    FewShot,
    Prompt,
    extract_answer,
    template_text,
    warn_of_leaks,
)
from t5x_lite.data.prompts_build import Built, build_prompts, pick_shots
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.tasks.prompt.report import Outputs, report_prompts
from t5x_lite.tasks.prompt.runs import Decoder, Run
from t5x_lite.tasks.prompt.sections import Config
from t5x_lite.wiring.model import RANDOM, load_model
from t5x_lite.wiring.text import get_vocabulary, read_rows
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


@dataclasses.dataclass(frozen=True)
class Asked:
    """A prompt kind with the prompts that it makes of all rows."""

    prompt: Prompt
    built: Built
    counts: dict[str, int]


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with the rows that the workdir's predictions lack.

    Whatever may be wrong with the input is found before anything is compiled.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_prompts(config)
    runs = read_runs(config)
    rows = read_rows(config.data.evaluation)
    shown = check_shown(config, rows)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, rows, folder)
        asked = ask(config, rows, vocabulary)
        execution = config.model.execution
        loaded = load_model(config.model, execution, vocabulary, mesh, config.seed)
        for each in runs:
            prepare(each.settings, loaded.model.config, 1, vocabulary)
        claim_workdir(folder, config)
        params = loaded.make()
        decoder = Decoder(
            loaded.model,
            params,
            vocabulary,
            mesh,
            rng=jax.random.fold_in(jax.random.key(config.seed), 1),
            batch_tokens=config.evaluation.batch_tokens,
            lengths=np.array([len(ids) for each in asked.values() for ids in each.built.ids]),
            rows=len(rows),
            with_scores=config.evaluation.with_scores,
        )
        outputs: list[Outputs] = []
        for each in runs:
            numbers = range(len(rows)) if each.scored else shown
            if not numbers:
                continue
            kind = asked[each.prompt]
            texts = decoder.decode(
                each,
                kind.prompt,
                {i: rows[i]["id"] for i in numbers},
                {i: kind.built.ids[i] for i in numbers},
                folder / "predictions",
            )
            answers = {i: extract_answer(kind.prompt, text) for i, text in texts.items()}
            outputs.append(Outputs(each.name, each.scored, answers, texts))
    counts = {name: each.counts for name, each in asked.items()}
    report_prompts(
        config, folder, params, vocabulary, rows, shown, outputs, counts, decoder.compilations
    )


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
        _check_name(f"config.prompts.{name}", name)
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


def read_runs(config: Config) -> list[Run]:
    """What to decode: the scored runs first, then those of the side-by-side table alone.

    The settings of each run are the config's over those of the checkpoint.

    Raises:
      InputError: an unknown name, a pair given twice, no run; settings as `GenerationSettings` refuses them, or that
        do not fit the prompt.
    """
    base = GenerationSettings()
    if config.model.source != RANDOM:
        base = checkpoint_settings(config.model.source)
    pairs = [(*pair, True) for pair in config.runs]
    pairs += [(*pair, False) for pair in config.side_by_side.runs]
    runs: list[Run] = []
    for prompt, setting, scored in pairs:
        section = "config.runs" if scored else "config.side_by_side.runs"
        for name, known, what in (
            (prompt, config.prompts, "prompts"),
            (setting, config.settings, "settings"),
        ):
            if name not in known:
                raise InputError(
                    f"{section}: there is no {name!r} in config.{what}; there are {', '.join(known)}"
                )
        _check_name(f"config.settings.{setting}", setting)
        if any((each.prompt, each.setting) == (prompt, setting) for each in runs):
            raise InputError(f"{section}: ({prompt!r}, {setting!r}) is there twice; remove one")
        where = f"config.settings.{setting}"
        settings = base.updated(config.settings[setting], where=where)
        if settings.num_return_sequences != 1:
            raise InputError(
                f"{where}.num_return_sequences: one output a row is compared; leave it out (a chain_of_thought"
                " prompt has `samples` of its own)"
            )
        asked = config.prompts[prompt]
        if isinstance(asked, ChainOfThought) and asked.samples > 1:
            if not settings.do_sample:
                raise InputError(
                    f"config.prompts.{prompt}.samples: several chains are samples; set {where}.do_sample"
                )
            settings = settings.updated({"num_return_sequences": asked.samples})
        runs.append(Run(prompt, setting, settings, scored))
    if not any(each.scored for each in runs):
        raise InputError("config.runs is empty: name at least one (prompt, settings) to score")
    return runs


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
        source = read_rows(data.shots)
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
            length=data.encoder_length,
            policy=data.truncation,
            name=name,
        )
        counts = dict(built.counts)
        if shots:
            counts |= warn_of_leaks(
                shots, rows, field=data.cut_field, same_split=same_split, name=name
            )
        asked[name] = Asked(config.prompts[name], built, counts)
    return asked


def _check_name(where: str, name: str) -> None:
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"{where}: a name has letters, digits, - and _, for it names a file")
