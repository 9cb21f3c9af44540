"""Training of a reward model on preference pairs (Bradley-Terry): config -> pairs -> steps -> held-out accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.preferences import (
    CHOSEN,
    REJECTED,
    pair_examples,
    pair_sides,
    pair_texts,
    prompt_template,
)
from t5x_lite.data.sources import Row
from t5x_lite.evaluation.by_length import length_range
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.preferences import (
    OBSERVED,
    PREDICTED,
    accuracy_by_kind,
    preference_calibration,
    preference_scores,
)
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.calibration_plot import plot_calibration
from t5x_lite.reports.outcome import report_run
from t5x_lite.tasks.reward.sections import Config
from t5x_lite.wiring.classifier_training import (
    SCORER,
    learnt,
    load_classifier,
    make_evaluate,
    put_rows,
    train_classifier,
)
from t5x_lite.wiring.holdout import read_with_holdout, row_groups
from t5x_lite.wiring.workdir import claim_workdir, local_copy, open_workdir

SCORE = "score"  # the one label of a reward model
_CONFIDENCE = 0.95


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is."""
    mesh = make_mesh(config.mesh.sizes())
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    template = config.data.template
    pair_texts(train_rows[:1], template)
    if config.model.kind == SCORER:
        prompt_template(template)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        loaded = load_classifier(config, (SCORE,), train_rows, mesh, folder)
        train, held_out = (
            pair_sides(rows, template, loaded.tokenizer)
            if isinstance(loaded.module, T5Scorer)
            else (pair_examples(rows, template, loaded.tokenizer),)
            for rows in (train_rows, evaluation_rows)
        )
        loaded.tokenizer.template = template  # saved with the model
        claim_workdir(folder, config)
        evaluate = make_evaluate(config, loaded.module, held_out, mesh)
        state = train_classifier(config, loaded, train, evaluate, mesh, folder)
        classifier = TextClassifier(loaded.module, state.params, loaded.tokenizer, put_rows(mesh))
        mean = _mean_reward(classifier, train_rows[: config.evaluation.centred_rows], template)
        params = centred(state.params, mean)
        with local_copy(folder / "model", with_files=False) as directory:
            save_classifier(directory, loaded.module, params, loaded.tokenizer)
        classifier = TextClassifier(loaded.module, params, loaded.tokenizer, put_rows(mesh))
        chosen, rejected = score_pairs(classifier, evaluation_rows, template)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    groups = row_groups(config.data, evaluation_rows)
    scores = preference_scores(chosen, rejected, bootstrap, groups)
    log.info("held-out accuracy %.3f of %d pairs", scores["accuracy"], scores["pairs"])
    calibration = preference_calibration(chosen, rejected)
    by_kind = {}
    if "kind" in evaluation_rows[0]:
        found = accuracy_by_kind(chosen, rejected, evaluation_rows, bootstrap, groups)
        by_kind["accuracy by kind"] = found
    samples = [
        {**row, "score of chosen": float(c), "score of rejected": float(r)}
        for row, c, r in zip(evaluation_rows, chosen, rejected, strict=True)
    ]
    sections: dict[str, Any] = {
        "preferences": scores,
        "tried on": {
            "source": config.data.evaluation.source,
            "pairs": len(evaluation_rows),
            **length_range([row[side] for side in (CHOSEN, REJECTED) for row in evaluation_rows]),
        },
        **by_kind,
        "calibration": calibration,
        "training": learnt(config, folder, params)
        | {"train pairs": len(train_rows), "mean reward taken out": mean},
        "samples": samples[: config.evaluation.samples],
    }
    pictures = {"calibration": plot_calibration(calibration, PREDICTED, OBSERVED)}
    title = f"{config.task}: {config.data.train.source}"
    report_run(config, folder, title, sections, pictures=pictures)


def score_pairs(
    classifier: TextClassifier, rows: Sequence[Row], template: str
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the chosen and of the rejected responses, float32 [rows] each."""
    chosen, rejected = (
        classifier.logits(
            classifier.render(template, [{**row, "response": row[name]} for row in rows])
        )[:, 0]
        for name in (CHOSEN, REJECTED)
    )
    return chosen, rejected


def centred(params: Any, mean: float) -> Any:
    """The parameters with `mean` taken from every score: from the bias of the last layer."""
    last = "head_out" if "head_out" in params else "head"
    bias = params[last]["bias"]
    return {**params, last: {**params[last], "bias": bias - np.float32(mean).astype(bias.dtype)}}


def _mean_reward(classifier: TextClassifier, rows: Sequence[Row], template: str) -> float:
    if not rows:
        return 0.0
    chosen, rejected = score_pairs(classifier, rows, template)
    return float(np.mean(np.concatenate([chosen, rejected])))
