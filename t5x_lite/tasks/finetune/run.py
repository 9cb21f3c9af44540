"""Supervised training, from random or pretrained weights: config -> rows -> tokens -> steps -> scores -> report."""

from __future__ import annotations

from jax.sharding import Mesh

from t5x_lite.data.features import fingerprint
from t5x_lite.data.templates import render
from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import report_outcome, training_sections
from t5x_lite.tasks.finetune.original import ORIGINAL, is_scored, note_on, originals
from t5x_lite.tasks.finetune.sections import Config
from t5x_lite.wiring.comparison import check_comparison, comparison_sections, run_others
from t5x_lite.wiring.holdout import read_with_holdout, sections_read, warnings_section
from t5x_lite.wiring.scoring import as_begun, score_split
from t5x_lite.wiring.text import (
    check_texts,
    get_vocabulary,
    held_out_plan,
    make_split,
    train_plan,
)
from t5x_lite.wiring.trained_files import finish_training
from t5x_lite.wiring.training import check_training, load_trainee, train
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    Whatever may be wrong with the input is found in the order of its cost, before anything is compiled.
    """
    mesh = make_mesh(config.mesh.sizes())
    check(config, mesh)
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    folder = open_workdir(workdir, config)
    others = run_others(config, evaluation_rows, folder)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        split = make_split(config.data, train_rows, vocabulary, "train")
        held_out = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        loaded, adaptation = load_trainee(config, vocabulary, mesh)
        model = loaded.model.config
        plan, batches = train_plan(config, split, vocabulary, model, mesh)
        evaluation = held_out_plan(config, held_out.examples, model, mesh)
        claim_workdir(folder, config)
        examples = fingerprint(split.examples)
        state = train(config, loaded, batches, evaluation, examples, mesh, folder, adaptation)
        ready, sections = finish_training(
            config, loaded, adaptation, state, vocabulary, evaluation, (mesh, folder)
        )
        sections |= training_sections(
            config, folder, plan, before=config.data.denoising.steps, ended_with=int(state.step)
        )
        targets = [render(config.data.target, row) for row in train_rows]
        scores, samples = score_split(config, ready, held_out, evaluation, folder, targets)
        if is_scored(config):
            del state, ready  # the memory of two models is not needed
            original = as_begun(loaded, vocabulary, mesh, adaptation)
            score_split(config, original, held_out, evaluation, folder / ORIGINAL)
    runs = [*originals(config, folder), *others]
    sections |= warnings_section(config.data, train_rows, evaluation_rows)
    sections |= comparison_sections(config, evaluation_rows, folder, runs, note_on(config))
    report_outcome(config, folder, scores, samples, sections)


def check(config: Config, mesh: Mesh) -> None:
    """Refuses what can be refused before any row is read.

    Raises:
      InputError: settings that contradict each other, or fit neither each other nor the mesh.
    """
    check_training(config, mesh)
    pads = config.data.pads
    if config.batch.pack and (pads.in_loss or pads.in_attention):
        raise InputError(
            "config.data.pads: pads count only where a row holds one example; set config.batch.pack to False"
        )
    check_comparison(config, ORIGINAL)
    check_texts(config.data, sections_read(config.data))
