"""A model as it is: config -> rows -> tokens -> loss and generated texts -> scores -> report.

Without references the texts alone are written.
"""

from __future__ import annotations

from t5x_lite.evaluation.beside_rouge import check_metrics
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import parameters_section, report_answers, report_outcome
from t5x_lite.tasks.evaluate.sections import Config
from t5x_lite.wiring.adaptation import check_loads, load_for
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.scoring import Ready, check_generation, make_loss, score_split, write_split
from t5x_lite.wiring.text import check_texts, get_vocabulary, held_out_plan, make_split, read_rows
from t5x_lite.wiring.trained_template import warn_of_another_template
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task. Whatever may be wrong with the input is found before anything is compiled."""
    mesh = make_mesh(config.mesh.sizes())
    check_generation(config)
    check_metrics(config.evaluation)
    check_loads(config.adapter)
    check_texts(config.data, ("evaluation",))
    warn_of_another_template(config.model.source, config.data.template)
    rows = read_rows(config.data.evaluation, "evaluation")
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, rows, folder)
        split = make_split(config.data, rows, vocabulary, "evaluation")
        loaded = load_model(config.model, config.model.execution, vocabulary, mesh, config.seed)
        check_generation(config, loaded.model.config, vocabulary)
        plan = held_out_plan(config, split.examples, loaded.model.config, mesh)
        claim_workdir(folder, config)
        params = loaded.make()
        adapters = load_for(loaded, params, config.adapter, mesh)
        ready = Ready(loaded.model, params, vocabulary, mesh, adapters)
        if not config.data.target:
            outputs, samples = write_split(config, ready, split, plan, folder)
            parameters = parameters_section(params)
            report_answers(config, folder, outputs, samples, parameters)
            return
        loss = make_loss(loaded.model, plan, mesh)(params, lambda: False, adapters)
        scores, samples = score_split(config, ready, split, plan, folder)
    sections = {"teacher-forced": loss, **parameters_section(params)}
    report_outcome(config, folder, scores, samples, sections)
