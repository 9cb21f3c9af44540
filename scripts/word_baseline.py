"""What words and word pairs alone can tell: TF-IDF and a logistic regression, beside a classifier or reward model.

    python scripts/word_baseline.py runs/davidson

The folder is a finished run of `configs/classifier.py` or `configs/reward.py`. The baseline is trained on the rows that
the run was trained on, and scored on those it was scored on, so that both stand in one table; of preference pairs it
learns from the differences of the two texts. Needs scikit-learn, which `pip install ".[test]"` brings.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from t5x_lite.data.preferences import pair_texts
from t5x_lite.errors import InputError
from t5x_lite.reports.tables import markdown_table
from t5x_lite.tasks.classifier import NONE, label_numbers, label_values
from t5x_lite.tasks.holdout import read_with_holdout
from t5x_lite.tasks.text import read_rows

try:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
except ImportError as error:
    sys.exit(f'the baseline needs scikit-learn ({error}): pip install ".[test]"')


def words() -> TfidfVectorizer:
    """Words and pairs of neighbours that at least two texts have."""
    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)


def classifier_table(config: ConfigDict, ours: dict[str, Any]) -> str:
    """AUC and accuracy on the held-out rows and on `data.transfer`."""
    values = label_values(config.data.labels.to_dict())
    labels = tuple(sorted(set(values.values())))
    positive = labels.index(config.data.positive)
    train, evaluation = read_with_holdout(config.data, config.seed)
    sets = {"evaluation": evaluation}
    if config.data.transfer.source != NONE:
        sets["transfer"] = read_rows(config.data, "transfer")
    vectors = words()
    model = LogisticRegression(C=10.0, max_iter=1000, random_state=config.seed)
    model.fit(
        vectors.fit_transform([row["text"] for row in train]),
        label_numbers(train, values, labels, "train") == positive,
    )
    lines = []
    for name, rows in sets.items():
        right = label_numbers(rows, values, labels, name) == positive
        found = model.predict_proba(vectors.transform([row["text"] for row in rows]))[:, 1]
        scores = [ours[name]["auc"], ours[name]["accuracy"]]
        scores += [float(roc_auc_score(right, found)), float(((found > 0.5) == right).mean())]
        lines.append([name, len(rows), *scores])
    header = ("rows", "number", "AUC", "accuracy", "baseline AUC", "baseline accuracy")
    return markdown_table(header, lines)


def reward_table(config: ConfigDict, ours: dict[str, Any]) -> str:
    """Accuracy on the held-out pairs; the order of the training pairs alternates, as two classes are needed."""
    train, evaluation = read_with_holdout(config.data, config.seed)
    vectors = words()
    texts = pair_texts(train, config.data.template)
    vectors.fit(texts[0] + texts[1])
    difference = vectors.transform(texts[0]) - vectors.transform(texts[1])
    model = LogisticRegression(C=10.0, max_iter=1000, fit_intercept=False, random_state=config.seed)
    order = np.resize([1, -1], len(train))
    model.fit(difference.multiply(order[:, None]).tocsr(), order)
    chosen, rejected = pair_texts(evaluation, config.data.template)
    margin = model.decision_function(vectors.transform(chosen) - vectors.transform(rejected))
    theirs = float(np.where(margin == 0, 0.5, margin > 0).mean())
    interval = f"{ours['accuracy']:.3f} ({ours['low']:.3f}, {ours['high']:.3f})"
    header = ("pairs", "accuracy", "baseline accuracy")
    return markdown_table(header, [[len(evaluation), interval, theirs]])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=pathlib.Path, help="workdir of a finished run")
    folder = parser.parse_args().run
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{folder}: not the folder of a finished run ({error})")
    try:
        if "classification" in report:
            table = classifier_table(ConfigDict(report["config"]), report["classification"])
        elif report["config"]["task"] == "reward":
            table = reward_table(ConfigDict(report["config"]), report["preferences"])
        else:
            sys.exit(f"{folder}: neither a classifier's run nor a reward model's")
    except InputError as error:
        sys.exit(str(error))
    print(table)


if __name__ == "__main__":
    main()
