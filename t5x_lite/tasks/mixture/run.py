"""Training on a mixture of tasks (instruction tuning, pretraining), of all weights or of adapters: config -> every
task's rows -> one plan -> steps -> scores of every task, before and after -> report.
"""

from __future__ import annotations

from typing import Any

from t5x_lite.data.features import fingerprint
from t5x_lite.data.mixture import Mixture
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.overview import count, overview
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.reports.environment import environment
from t5x_lite.reports.outcome import log_table, training_sections
from t5x_lite.reports.report import write_report
from t5x_lite.sections import to_dict
from t5x_lite.tasks.mixture.data import (
    all_texts,
    check_tasks,
    evaluation_splits,
    make_mixture,
    read_tasks,
)
from t5x_lite.tasks.mixture.scores import (
    AFTER_FOLDER,
    BEFORE_FOLDER,
    score_tasks,
    task_samples,
    tasks_table,
)
from t5x_lite.tasks.mixture.sections import Config
from t5x_lite.wiring.adaptation import adaptation_of, check_adaptation, model_before
from t5x_lite.wiring.adapter_guard import check_adapter
from t5x_lite.wiring.model import RANDOM, load_model
from t5x_lite.wiring.scoring import check_generation
from t5x_lite.wiring.text import bucketed_plan, evaluation_plan, vocabulary_of
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
    check_tasks(config.data, config.evaluation.task)
    tasks = read_tasks(config.data)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = vocabulary_of(config, all_texts(config.data, tasks), folder)
        mixture = make_mixture(config.data, tasks, vocabulary, seed=config.seed)
        splits = evaluation_splits(config.data, tasks, vocabulary, seed=config.seed)
        execution = config.model.execution
        loaded = load_model(config.model, execution, vocabulary, mesh, config.seed)
        model = loaded.model
        check_generation(config, model.config, vocabulary)
        adaptation = adaptation_of(config, loaded, mesh)
        state_of(config, loaded, mesh, adaptation)
        plan = bucketed_plan(
            config,
            mixture,
            model.config,
            row_multiple=row_multiple(mesh, config.batch.accumulation),
        )
        plans = {
            name: evaluation_plan(
                split.examples,
                model.config,
                tokens=config.evaluation.batch_tokens,
                row_multiple=row_multiple(mesh),
            )
            for name, split in splits.items()
        }
        claim_workdir(folder, config)
        watched = plans[config.evaluation.task]
        state = train(config, loaded, plan, watched, fingerprint(mixture), mesh, folder, adaptation)
        sections = training_sections(config, folder, plan, before=0)
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
            sections |= check_adapter(adaptation, model, state, watched, mesh)
        after = score_tasks(
            config, model, params, vocabulary, splits, plans, mesh, folder / AFTER_FOLDER, adapters
        )
        before = None
        if config.model.source != RANDOM:
            del state
            first, begun = model_before(adaptation, loaded)
            before = score_tasks(
                config, model, first, vocabulary, splits, plans, mesh, folder / BEFORE_FOLDER, begun
            )
    table = tasks_table(config, before, after)
    report: dict[str, Any] = {
        "title": f"{config.task}: {', '.join(config.data.tasks)}",
        "summary": table,
        "scores": {name: scores.result for name, scores in after.items()},
        "mixture": _shares(mixture),
        **sections,
        "parameters": [{"path": "all", "parameters": count(params)}, *overview(params)],
        "samples": task_samples(config, splits, after),
        "environment": environment(),
        "config": to_dict(config),
    }
    write_report(folder, report)
    log_table(table, folder)


def _shares(mixture: Mixture) -> list[dict[str, Any]]:
    """What an epoch holds of each source: examples, and their shares of the examples and of the target tokens."""
    names = [mixture.name_of(index) for index in range(len(mixture))]
    tokens = dict.fromkeys(mixture.names, 0)
    for name, length in zip(names, mixture.decoder_lengths.tolist(), strict=True):
        tokens[name] += length
    return [
        {
            "source": name,
            "examples in an epoch": shown,
            "share of the examples": shown / len(mixture),
            "share of the target tokens": tokens[name] / sum(tokens.values()),
        }
        for name, shown in mixture.shown.items()
    ]
