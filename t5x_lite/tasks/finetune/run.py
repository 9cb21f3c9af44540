"""Supervised training, from random or pretrained weights: config -> rows -> tokens -> steps -> scores -> report."""

from __future__ import annotations

from t5x_lite.data.features import fingerprint
from t5x_lite.data.pads import CountedPads
from t5x_lite.data.sources import warn_of_shared_rows
from t5x_lite.data.templates import render
from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.reports.outcome import report_outcome, training_sections
from t5x_lite.tasks.finetune.comparison import (
    BEFORE,
    ORIGINAL,
    check_comparison,
    comparison_sections,
    run_others,
)
from t5x_lite.tasks.finetune.sections import Config
from t5x_lite.wiring.adaptation import adaptation_of, check_adaptation, model_before
from t5x_lite.wiring.adapter_guard import check_adapter
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.scoring import check_generation, score_split
from t5x_lite.wiring.supervised import Batches
from t5x_lite.wiring.text import (
    check_texts,
    evaluation_plan,
    get_vocabulary,
    make_split,
    read_rows,
    train_plan,
)
from t5x_lite.wiring.trained_files import save_trained
from t5x_lite.wiring.training import check_training, state_of, train
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    Whatever may be wrong with the input is found in the order of its cost, before anything is compiled.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_generation(config)
    check_training(config, mesh)
    check_adaptation(config)
    check_pads(config)
    check_comparison(config)
    check_texts(config.data, ("train", "evaluation"))
    train_rows = read_rows(config.data.train)
    evaluation_rows = read_rows(config.data.evaluation)
    warn_of_shared_rows(evaluation_rows, train_rows, config.data.cut_field)
    folder = open_workdir(workdir, config)
    others = run_others(config, evaluation_rows, folder)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        train_split = make_split(config.data, train_rows, vocabulary, "train")
        evaluation_split = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        execution = config.model.execution
        loaded = load_model(config.model, execution, vocabulary, mesh, config.seed)
        model = loaded.model
        check_generation(config, model.config, vocabulary)
        adaptation = adaptation_of(config, loaded, mesh)
        state_of(config, loaded, mesh, adaptation)
        rows = row_multiple(mesh, config.batch.accumulation)
        batches: Batches
        plan, batches = train_plan(config, train_split, vocabulary, model.config, row_multiple=rows)
        pads = config.data.pads
        if pads.in_loss or pads.in_attention:
            batches = CountedPads(batches, in_loss=pads.in_loss, in_attention=pads.in_attention)
        evaluation = evaluation_plan(
            evaluation_split.examples,
            model.config,
            tokens=config.evaluation.batch_tokens,
            row_multiple=row_multiple(mesh),
        )
        claim_workdir(folder, config)
        examples = fingerprint(train_split.examples)
        state = train(config, loaded, batches, evaluation, examples, mesh, folder, adaptation)
        sections = training_sections(config, folder, plan, before=config.data.denoising.steps)
        params = unstack(state.params) if is_stacked(state.params) else state.params
        adapters, files = save_trained(
            folder,
            config.model.source,
            model.config,
            params,
            state.adapters,
            adaptation,
            vocabulary,
        )
        sections |= files
        if adapters is not None:
            sections |= check_adapter(adaptation, model, state, evaluation, mesh)
        scores, samples = score_split(
            config,
            model,
            params,
            vocabulary,
            evaluation_split,
            evaluation,
            [render(config.data.target, row) for row in train_rows],
            mesh,
            folder,
            adapters,
        )
        if config.comparison.original == BEFORE:
            del state, params, adapters
            params, adapters = model_before(adaptation, loaded)
            score_split(
                config, model, params, vocabulary, evaluation_split, evaluation, [], mesh,
                folder / ORIGINAL, adapters,
            )  # fmt: skip
    sections |= comparison_sections(config, evaluation_rows, folder, others)
    report_outcome(config, folder, params, scores, samples, sections)


def check_pads(config: Config) -> None:
    """Refuses pads that count where rows hold several examples.

    Raises:
      InputError: as said.
    """
    pads = config.data.pads
    if config.batch.pack and (pads.in_loss or pads.in_attention):
        raise InputError(
            "config.data.pads: pads count only where a row holds one example; set config.batch.pack to False"
        )
