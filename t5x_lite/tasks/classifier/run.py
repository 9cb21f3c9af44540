"""Training of a text classifier from labeled rows (sentiment, toxicity): config -> rows -> steps -> accuracy, AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError
from t5x_lite.evaluation.classification import auc, calibration
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.overview import count
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.report import write_report
from t5x_lite.sections import to_dict
from t5x_lite.tasks.classifier.sections import Config
from t5x_lite.wiring.classifier_training import (
    column,
    load_classifier,
    make_evaluate,
    put_rows,
    train_classifier,
)
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.text import read_rows
from t5x_lite.wiring.workdir import claim_workdir, local_copy, open_workdir

NONE = "none"  # `data.transfer.source` where there is no other data to judge by
_TEXT, _LABEL = "text", "label"


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is."""
    mesh = make_mesh(config.mesh.sizes())
    values = label_values(config.data.labels)
    labels = tuple(sorted(set(values.values())))
    if config.data.positive not in labels:
        raise InputError(
            f"config.data.positive must be one of {', '.join(labels)}, got {config.data.positive!r}"
        )
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    sets = {"evaluation": evaluation_rows}
    if config.data.transfer.source != NONE:
        sets["transfer"] = read_rows(config.data.transfer)
    targets = {
        name: label_numbers(rows, values, labels, name)
        for name, rows in {"train": train_rows, **sets}.items()
    }
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        loaded = load_classifier(config, labels, train_rows, mesh, folder)
        examples = {
            name: Examples(
                Ragged.from_lists(loaded.tokenizer.encode(column(rows, _TEXT))),
                Ragged.from_lists([[number] for number in targets[name].tolist()]),
            )
            for name, rows in {"train": train_rows, "evaluation": evaluation_rows}.items()
        }
        claim_workdir(folder, config)
        evaluate = make_evaluate(config, loaded.module, [examples["evaluation"]], mesh)
        state = train_classifier(config, loaded, [examples["train"]], evaluate, mesh, folder)
        with local_copy(folder / "model", with_files=False) as directory:
            save_classifier(directory, loaded.module, state.params, loaded.tokenizer)
        classifier = TextClassifier(loaded.module, state.params, loaded.tokenizer, put_rows(mesh))
        scores = {}
        probabilities = {}
        for name, rows in sets.items():
            probabilities[name] = classifier.probabilities(column(rows, _TEXT))
            scores[name] = classification_scores(
                probabilities[name], targets[name], labels, config.data.positive
            )
            log.info("%s: %s", name, ", ".join(f"{k} {v:.4g}" for k, v in scores[name].items()))
    steps = [record for record in read_metrics(folder) if "loss" in record]
    positive = labels.index(config.data.positive)
    samples = [
        {
            _TEXT: row[_TEXT],
            _LABEL: labels[target],
            f"p({config.data.positive})": float(p[positive]),
        }
        for row, target, p in zip(
            evaluation_rows, targets["evaluation"], probabilities["evaluation"], strict=True
        )
    ]
    write_report(
        folder,
        {
            "title": f"{config.task}: {config.data.train.source}",
            "classification": scores,
            "calibration": calibration(
                probabilities["evaluation"][:, positive], targets["evaluation"] == positive
            ),
            "training": {
                "steps": config.train.steps,
                "train rows": len(train_rows),
                "first loss": steps[0]["loss"],
                "last loss": steps[-1]["loss"],
                "parameters": count(state.params),
            },
            "samples": samples[: config.evaluation.samples],
            "environment": environment(),
            "config": to_dict(config),
        },
    )
    log.info("report: %s", folder / "report.md")


def label_values(labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Value of the label column -> label, from {"nothate": ("2",), "hate": ("0", "1")}.

    Raises:
      InputError: fewer than two labels, or a value under two of them.
    """
    if len(labels) < 2:
        raise InputError("config.data.labels must name at least two labels and their values")
    values: dict[str, str] = {}
    for label, names in labels.items():
        for value in names:
            if value in values:
                raise InputError(
                    f"config.data.labels: the value {value!r} is under {values[value]!r} and {label!r}"
                )
            values[value] = label
    return values


def label_numbers(
    rows: Sequence[Row], values: Mapping[str, str], labels: Sequence[str], name: str
) -> np.ndarray:
    """int [rows]: the number of each row's label.

    Raises:
      InputError: a value that is under no label.
    """
    for row in rows:
        if row[_LABEL] not in values:
            raise InputError(
                f"config.data.labels: the label {row[_LABEL]!r} of {name} row {row['id']} is under no label; known"
                f" values: {', '.join(values)}"
            )
    return np.array([labels.index(values[row[_LABEL]]) for row in rows])


def classification_scores(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], positive: str
) -> dict[str, Any]:
    """rows, accuracy, the share of the most frequent label (what a constant answer gets), and AUC of `positive`."""
    counts = np.bincount(targets, minlength=len(labels))
    scores: dict[str, Any] = {
        "rows": len(targets),
        "accuracy": float((probabilities.argmax(axis=1) == targets).mean()),
        "most frequent label": float(counts.max() / counts.sum()),
    }
    if 0 < counts[labels.index(positive)] < len(targets):
        scores["auc"] = auc(
            probabilities[:, labels.index(positive)], targets == labels.index(positive)
        )
    return scores
