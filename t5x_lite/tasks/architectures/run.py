"""Encoder-only, encoder-decoder and decoder-only side by side: each trained by the one loop to name a text's class.

A class is one token (a sentinel), so that each architecture can answer: config -> texts -> a run of each -> one table.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.data.features import Examples, Ragged, fingerprint, ids_of
from t5x_lite.data.groups import group_numbers
from t5x_lite.data.plan import Plan
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.models.architectures import DecoderOnly, EncoderOnly
from t5x_lite.models.t5 import T5, project
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.params.gather import whole
from t5x_lite.params.overview import count
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.scores import points, points_difference
from t5x_lite.tasks.architectures.sections import Config
from t5x_lite.wiring.model import architecture_of, random_model
from t5x_lite.wiring.text import (
    OF_THE_MODEL,
    bucketed_plan,
    check_texts,
    get_vocabulary,
    held_out_plan,
    read_splits,
)
from t5x_lite.wiring.training import check_training, state_of, train
from t5x_lite.wiring.workdir import claim_workdir, open_workdir

KINDS = {"encoder_only": EncoderOnly, "encoder_decoder": T5, "decoder_only": DecoderOnly}
_CONFIDENCE = 0.95


def run(config: Config, workdir: str) -> None:
    """Trains each of `architectures` in a folder of its name, or goes on with it there; scores all on the same rows.

    Rows of the evaluation whose class no training row has are left out, and counted.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_training(config, mesh)
    if config.tokenizer.source == OF_THE_MODEL:
        raise InputError("config.tokenizer.source: these models are new; 'train' one, or name one")
    # As for the other tasks, what is to be told is the text's target.
    target = f"{{{config.data.label}}}"
    check_texts(config.data, ("train", "evaluation"), target)
    train_rows, rows = read_splits(config.data)
    label = config.data.label
    classes = sorted({row[label] for row in train_rows})
    known = [row for row in rows if row[label] in set(classes)]
    if not known:
        raise InputError(
            f"config.data.evaluation: no row has a {label!r} that a training row has, so nothing can be scored"
        )
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        make = functools.partial(make_class_examples, config, vocabulary, classes)
        examples, held_out = make(train_rows, "train"), make(known, "evaluation")
        claim_workdir(folder, config)
        answers, facts = {}, {}
        for name in sorted(config.architectures):
            log.info("%s", name)
            answers[name], facts[name] = _run_one(
                config, name, examples, held_out, vocabulary, mesh, folder / name
            )
    right = [classes.index(row[label]) for row in known]
    groups = group_numbers(known, (config.data.cut_field,))
    table = _table(config, np.array(right), answers, facts, groups)
    commonest = max(classes, key=[row[label] for row in train_rows].count)
    share = statistics.fmean(row[label] == commonest for row in known)
    sections = {
        "summary": (
            f"{len(known)} rows of {len(classes)} classes ({len(rows) - len(known)} rows left out, whose class no"
            f" training row has); always the commonest class: {100 * share:.1f} % right. Differences are to"
            " the first row, paired; ✓: the whole 95 % interval is above zero, ✗: below."
        ),
        "architectures": table,
        "samples": [
            {
                "id": row["id"],
                "input": row[config.data.cut_field],
                "class": row[label],
                **{name: _name(classes, answers[name][i]) for name in answers},
            }
            for i, row in enumerate(known[: config.evaluation.samples])
        ],
    }
    title = f"architectures: {config.data.train.source}"
    report_run(config, folder, title, sections, table=table)


def make_class_examples(
    config: Config, vocabulary: Vocabulary, classes: Sequence[str], rows: list[Row], name: str
) -> Examples:
    """Texts, and for each the sentinel that stands for its class: `classes[i]` is `<extra_id_i>`.

    Raises:
      InputError: more classes than sentinels; as `truncation.fit`.
    """
    data = config.data
    if len(classes) > len(vocabulary.sentinel_ids):
        raise InputError(
            f"tokenizer.extra_ids: {len(classes)} classes need as many sentinels, the tokenizer has"
            f" {len(vocabulary.sentinel_ids)}"
        )
    cuts = Cuts(f"{name} inputs", data.encoder_length, data.truncation)
    inputs = fit(rows, find_template(data.template), vocabulary, cuts, data.cut_field)
    cuts.report()
    number = {text: i for i, text in enumerate(classes)}
    answers = [[vocabulary.sentinel_ids[number[row[data.label]]]] for row in rows]
    return Examples(Ragged.from_lists(inputs), Ragged.from_lists(answers), ids_of(rows))


def _run_one(
    config: Config,
    name: str,
    examples: Examples,
    held_out: Examples,
    vocabulary: Vocabulary,
    mesh: Mesh,
    folder: epath.Path,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Trains one; int [rows], the class it gives to each held-out row (-1: none), and facts for the table."""
    section = config.architectures[name]
    layers = dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), section.layers)
    fields = {**config.model.architecture, **layers}
    execution = config.model.execution
    model = KINDS[section.kind](architecture_of(fields, vocabulary), execution)
    loaded = random_model(model, config.model.param_dtype, mesh, config.seed)
    state_of(config, loaded, mesh)
    plan = bucketed_plan(config, examples, model.config, mesh)
    watched = held_out_plan(config, held_out, model.config, mesh)
    folder.mkdir(parents=True, exist_ok=True)
    state = train(config, loaded, plan, watched, fingerprint(examples), mesh, folder)
    records = [record for record in read_metrics(folder) if "loss" in record]
    facts = {
        "parameters": count(state.params),
        "last train loss": records[-1]["loss"],
        "skipped": sum(record["skipped"] for record in records),
        "step seconds": statistics.median(record["time/step_seconds"] for record in records),
    }
    found = _answers(model, state.params, watched, mesh, len(held_out.encoder_lengths))
    number = {token: i for i, token in enumerate(vocabulary.sentinel_ids)}
    return np.array([number.get(token, -1) for token in found.tolist()]), facts


def _answers(model: Any, params: Any, plan: Plan, mesh: Mesh, rows: int) -> np.ndarray:
    """int [rows]: the likeliest first token of each row."""

    @jax.jit
    def likeliest(params: Any, batch: Any) -> jax.Array:
        variables = {"params": params}
        hidden = model.apply(
            variables,
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
            method="hidden",
        )
        kernel = model.apply(variables, method="output_kernel")
        return jnp.argmax(project(model.config, kernel, hidden[:, :1])[:, 0], axis=-1)

    found = np.zeros(rows, np.int64)
    own = OwnRows(mesh)
    for step in range(plan.steps_per_epoch):
        indices = plan.indices(step)
        tokens = whole(likeliest(params, own.read(plan, step)))
        found[indices[indices >= 0]] = tokens[indices >= 0]
    return found


def _table(
    config: Config,
    right: np.ndarray,
    answers: dict[str, np.ndarray],
    facts: dict[str, Any],
    groups: np.ndarray,
) -> list[dict[str, Any]]:
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    correct = {name: (found == right).astype(float) for name, found in answers.items()}
    first = next(iter(correct))
    table = []
    for name, values in correct.items():
        difference = None
        if name != first:
            interval = paired_difference(values, correct[first], bootstrap, groups)
            difference = points_difference(dataclasses.asdict(interval), 1)
        mean = bootstrap_mean(values, bootstrap, groups)
        table.append(
            {
                "architecture": name,
                "layers": config.architectures[name].layers,
                "parameters": facts[name]["parameters"],
                "right, %": points(dataclasses.asdict(mean), 1),
                "difference": difference,
                "last train loss": round(facts[name]["last train loss"], 3),
                "updates skipped": int(facts[name]["skipped"]),
                "step, ms (median)": round(1000 * facts[name]["step seconds"], 1),
            }
        )
    return table


def _name(classes: Sequence[str], number: int) -> str:
    return classes[number] if 0 <= number < len(classes) else "(no class)"
