"""Supervised training, from random or pretrained weights: config -> rows -> tokens -> steps -> scores -> report."""

from __future__ import annotations

from ml_collections import ConfigDict

from t5x_lite.console import log
from t5x_lite.data.sources import warn_of_shared_rows
from t5x_lite.data.templates import render
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.interop.hf import save_hf
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.reports.report import write_report
from t5x_lite.tasks.model import load_model
from t5x_lite.tasks.outcome import outcome
from t5x_lite.tasks.scoring import score_split
from t5x_lite.tasks.text import get_vocabulary, make_split, read_rows
from t5x_lite.tasks.training import train
from t5x_lite.tasks.workdir import open_workdir


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is."""
    mesh = make_mesh(config.mesh.to_dict())
    GenerationSettings.from_mapping(config.generation.to_dict())  # refused now, not after training
    train_rows, evaluation_rows = read_rows(config.data.train), read_rows(config.data.evaluation)
    warn_of_shared_rows(evaluation_rows, train_rows, config.data.cut_field)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config.tokenizer, train_rows, folder)
        train_split = make_split(config.data, train_rows, vocabulary, "train")
        evaluation_split = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        loaded = load_model(config.model, vocabulary, mesh, config.seed)
        state, plan = train(config, loaded, train_split, evaluation_split, mesh, folder)
        params = unstack(state.params) if is_stacked(state.params) else state.params
        save_hf(folder / "model", loaded.model.config, params, vocabulary)
        targets = [render(config.data.target, row) for row in train_rows]
        scores, samples = score_split(
            config, loaded.model, params, vocabulary, evaluation_split, targets, mesh, folder
        )
    write_report(folder, outcome(config, folder, params, plan, scores, samples))
    log.info("report: %s", folder / "report.md")
