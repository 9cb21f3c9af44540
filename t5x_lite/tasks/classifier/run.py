"""Training of a text classifier from labeled rows (sentiment, toxicity): config -> rows -> steps -> accuracy, AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.features import Examples, Ragged, ids_of
from t5x_lite.data.groups import group_numbers
from t5x_lite.data.sources import Row, warn_of_shared_rows
from t5x_lite.errors import InputError
from t5x_lite.evaluation.by_length import by_length, length_range
from t5x_lite.evaluation.classification import auc_interval, calibration
from t5x_lite.evaluation.intervals import Bootstrap, check_finite
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.tables import shown
from t5x_lite.tasks.classifier.sections import Config
from t5x_lite.wiring.classifier_training import (
    LoadedClassifier,
    column,
    learnt,
    load_classifier,
    make_evaluate,
    put_rows,
    train_classifier,
)
from t5x_lite.wiring.holdout import group_fields, read_with_holdout
from t5x_lite.wiring.text import read_rows
from t5x_lite.wiring.workdir import claim_workdir, local_copy, open_workdir

NONE = "none"  # `data.transfer.source` where there is no other data to judge by
_TEXT, _LABEL = "text", "label"
_CONFIDENCE = 0.95


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is."""
    mesh = make_mesh(config.mesh.sizes())
    values = label_values(config.data.labels)
    labels = tuple(sorted(set(values.values())))
    check_positive(config.data.positive, labels)
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    sets = {"evaluation": evaluation_rows}
    if config.data.transfer.source != NONE:
        sets["transfer"] = read_rows(config.data.transfer, "transfer")
        warn_of_shared_rows(sets["transfer"], train_rows, group_fields(config.data))
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
                ids_of(rows),
            )
            for name, rows in {"train": train_rows, "evaluation": evaluation_rows}.items()
        }
        claim_workdir(folder, config)
        evaluate = make_evaluate(config, loaded.module, [examples["evaluation"]], mesh)
        state = train_classifier(
            config, loaded, [examples["train"]], evaluate, mesh, folder, config.train
        )
        with local_copy(folder / "model", with_files=False) as directory:
            save_classifier(directory, loaded.module, state.params, loaded.tokenizer)
        classifier = TextClassifier(
            loaded.module, state.params, judging(config, loaded), put_rows(mesh)
        )
        probabilities = {
            name: classifier.probabilities(column(rows, _TEXT)) for name, rows in sets.items()
        }
    texts = {name: column(rows, _TEXT) for name, rows in sets.items()}
    groups = {name: group_numbers(rows, (_TEXT,)) for name, rows in sets.items()}
    tried = tried_on(config, labels, texts, probabilities, targets, groups)
    positive = labels.index(config.data.positive)
    of_positive = probabilities["evaluation"][:, positive]
    samples = [
        {_TEXT: row[_TEXT], _LABEL: labels[target], f"p({config.data.positive})": float(p)}
        for row, target, p in zip(evaluation_rows, targets["evaluation"], of_positive, strict=True)
    ]
    sections = {
        **tried,
        "calibration": calibration(of_positive, targets["evaluation"] == positive),
        "training": learnt(config, folder, state.params) | {"train rows": len(train_rows)},
        "samples": samples[: config.evaluation.samples],
    }
    report_run(config, folder, f"{config.task}: {config.data.train.source}", sections)


def check_positive(positive: str, labels: Sequence[str]) -> None:
    """Refuses a `data.positive` that is no label.

    Raises:
      InputError: as said.
    """
    if positive not in labels:
        raise InputError(
            f"config.data.positive must be one of {', '.join(labels)}, got {positive!r}"
        )


def tried_on(
    config: Config,
    labels: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    probabilities: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    groups: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Of each set of texts what it is, how well the labels are told apart, and that by length of text.

    probabilities: float [texts, labels]. targets: int [texts]. groups: int [texts], equal for texts that were drawn
      together (`data.groups`).
    """
    positive = labels.index(config.data.positive)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    scores: dict[str, dict[str, Any]] = {}
    lengths: dict[str, list[dict[str, Any]]] = {}
    for name, of_set in texts.items():
        found, target, together = probabilities[name], targets[name], groups[name]
        scores[name] = {
            "source": getattr(config.data, name).source,
            **classification_scores(
                found, target, labels, config.data.positive, bootstrap, together
            ),
            **length_range(of_set),
        }
        lengths[f"{name} by length of text"] = by_length(
            found[:, positive], target == positive, of_set, bootstrap, together
        )
        log.info("%s: %s", name, ", ".join(f"{k} {shown(v)}" for k, v in scores[name].items()))
    return {"classification": scores, **lengths}


def judging(config: Config, loaded: LoadedClassifier) -> ClassifierTokenizer:
    """The tokenizer for texts that are judged, which may be read further than those of the training.

    Raises:
      InputError: further than the model's positions reach.
    """
    longest = config.evaluation.max_length or config.data.max_length
    if isinstance(loaded.module, EncoderClassifier):
        reach = loaded.module.config.max_length
        if config.evaluation.max_length > reach:
            raise InputError(
                f"config.evaluation.max_length is {longest}, and the model reads at most {reach} tokens"
            )
        longest = min(longest, reach)
    return ClassifierTokenizer(loaded.tokenizer.tokenizer, longest)


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
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    positive: str,
    bootstrap: Bootstrap,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """rows, accuracy, the share of the most frequent label (what a constant answer gets), and AUC of `positive` with
    its interval, where there are rows of both kinds. groups: as for `auc_interval`.

    Raises:
      InputError: a probability that is no number.
    """
    check_finite(np.abs(probabilities).max(axis=1))
    counts = np.bincount(targets, minlength=len(labels))
    scores: dict[str, Any] = {
        "rows": len(targets),
        "accuracy": float((probabilities.argmax(axis=1) == targets).mean()),
        "most frequent label": float(counts.max() / counts.sum()),
    }
    number = labels.index(positive)
    if 0 < counts[number] < len(targets):
        found = auc_interval(probabilities[:, number], targets == number, bootstrap, groups)
        scores |= {"auc": found.mean, "auc low": found.low, "auc high": found.high}
    return scores
