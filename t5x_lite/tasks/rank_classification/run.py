"""Rank classification: config -> rows -> choices -> log-probabilities -> accuracy -> report."""

from __future__ import annotations

from t5x_lite.data.templates import find_template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.evaluation.choice_scores import ChoiceScorer
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import put_batch, row_multiple
from t5x_lite.tasks.rank_classification.choices import check_choices, encode_choices, read_choices
from t5x_lite.tasks.rank_classification.report import report
from t5x_lite.tasks.rank_classification.sections import Config
from t5x_lite.wiring.adaptation import check_loads, load_for
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.text import get_vocabulary, read_rows
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task. Whatever may be wrong with the input is found before anything is compiled."""
    mesh = make_mesh(config.mesh.sizes())
    check_loads(config.adapter)
    data = config.data
    check_choices(data)
    rows = read_rows(data.evaluation, "evaluation", lists=(data.choices_field,))
    choices = read_choices(data, rows)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, rows, folder)
        cuts = Cuts("evaluation inputs", data.encoder_length, data.truncation)
        inputs = fit(rows, find_template(data.template), vocabulary, cuts, data.cut_field)
        cuts.report()
        encoded = encode_choices(choices.texts, vocabulary)
        loaded = load_model(config.model, config.model.execution, vocabulary, mesh, config.seed)
        claim_workdir(folder, config)
        params = loaded.make()
        adapters = load_for(loaded, params, config.adapter, mesh)
        scorer = ChoiceScorer(
            loaded.model, lambda batch: put_batch(batch, mesh), row_multiple(mesh)
        )
        scores = scorer.score(
            params, adapters, inputs, encoded, batch_tokens=config.evaluation.batch_tokens
        )
    report(config, folder, rows, choices, scores)
