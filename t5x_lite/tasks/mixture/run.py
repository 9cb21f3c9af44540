"""Training on a mixture of tasks (instruction tuning, pretraining), of all weights or of adapters: config -> every
task's rows -> one plan -> steps -> scores of every task, before and after -> report.
"""

from __future__ import annotations

from typing import Any

from t5x_lite.data.features import fingerprint
from t5x_lite.data.mixture import Mixture
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import report_run, training_sections
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
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.scoring import as_begun
from t5x_lite.wiring.text import bucketed_plan, held_out_plan, vocabulary_of
from t5x_lite.wiring.trained_files import finish_training
from t5x_lite.wiring.training import check_training, load_trainee, train
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    Whatever may be wrong with the input is found in the order of its cost, before anything is compiled.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_training(config, mesh)
    check_tasks(config.data, config.evaluation.task)
    tasks = read_tasks(config.data)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = vocabulary_of(config, all_texts(config.data, tasks), folder)
        mixture = make_mixture(config.data, tasks, vocabulary, seed=config.seed)
        splits = evaluation_splits(config.data, tasks, vocabulary, seed=config.seed)
        loaded, adaptation = load_trainee(config, vocabulary, mesh)
        model = loaded.model.config
        plan = bucketed_plan(config, mixture, model, mesh)
        plans = {
            name: held_out_plan(config, split.examples, model, mesh)
            for name, split in splits.items()
        }
        claim_workdir(folder, config)
        watched = plans[config.evaluation.task]
        state = train(config, loaded, plan, watched, fingerprint(mixture), mesh, folder, adaptation)
        ready, sections = finish_training(
            config, loaded, adaptation, state, vocabulary, watched, (mesh, folder)
        )
        sections |= training_sections(config, folder, plan, before=0, ended_with=int(state.step))
        after = score_tasks(config, ready, splits, plans, folder / AFTER_FOLDER)
        before = None
        if config.model.source != RANDOM:
            del state, ready  # the memory of two models is not needed
            first = as_begun(loaded, vocabulary, mesh, adaptation)
            before = score_tasks(config, first, splits, plans, folder / BEFORE_FOLDER)
    table = tasks_table(config, before, after)
    sections |= {
        "summary": table,
        "scores": {name: scores.result for name, scores in after.items()},
        "mixture": _shares(mixture),
        "samples": task_samples(config, splits, after),
    }
    report_run(
        config, folder, f"{config.task}: {', '.join(config.data.tasks)}", sections, table=table
    )


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
