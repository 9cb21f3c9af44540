"""What words and word pairs alone can tell: TF-IDF and a logistic regression, beside a classifier or reward model.

    python scripts/word_baseline.py runs/davidson

The folder is a finished run of `configs/classifier.py` or `configs/reward.py`. The baseline is trained on the rows that
the run was trained on, and scored on those it was scored on, so that both stand in one table; of preference pairs it
learns from the differences of the two texts. Needs scikit-learn, which `pip install ".[test]"` brings.

    python scripts/word_baseline.py runs/minilm --probe

puts a linear probe beside both: a logistic regression on what the pretrained encoder of the run (`model.source`), not
trained any further, makes of a text, the mean of its last hidden states.

    python scripts/word_baseline.py runs/judge --judge runs/ppo_0 runs/ppo_1

takes the words as one more judge: what the baseline of a classifier's run finds in the responses that PPO runs left in
samples.jsonl, before and after, paired by prompt.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.config import read_config
from t5x_lite.data.classifier_text import load_classifier_tokenizer
from t5x_lite.data.preferences import pair_texts
from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError
from t5x_lite.evaluation.classification import auc_interval
from t5x_lite.evaluation.intervals import Bootstrap, Interval, bootstrap_mean, paired_difference
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.evaluation.toxicity import paired_p_value
from t5x_lite.interop.classifiers import open_classifier
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.reports.tables import markdown_table
from t5x_lite.tasks.classifier.run import NONE, label_numbers, label_values
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.text import read_rows

try:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import StandardScaler
except ImportError as error:
    sys.exit(f'the baseline needs scikit-learn ({error}): pip install ".[test]"')


def words() -> TfidfVectorizer:
    """Words and pairs of neighbours that at least two texts have."""
    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)


class WordClassifier:
    """The baseline of a classifier's run: p(positive) of texts, from the rows that the run was trained on.

    vectors: what makes vectors of texts (scikit-learn's `fit_transform` and `transform`).
    model: what learns from these.
    """

    def __init__(self, config: Any, vectors: Any = None, model: Any = None):
        self._values = label_values(config.data.labels)
        self._labels = tuple(sorted(set(self._values.values())))
        self._positive = self._labels.index(config.data.positive)
        train, self.evaluation = read_with_holdout(config.data, config.seed)
        self._vectors = vectors or words()
        self._model = model or LogisticRegression(C=10.0, max_iter=1000, random_state=config.seed)
        self._model.fit(
            self._vectors.fit_transform([row["text"] for row in train]),
            self.is_positive(train, "train"),
        )

    def is_positive(self, rows: Sequence[Row], name: str) -> np.ndarray:
        """bool [rows]: their labels. name: of the rows, in errors."""
        return np.asarray(label_numbers(rows, self._values, self._labels, name) == self._positive)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """p(positive), float64 [texts]."""
        return np.asarray(self._model.predict_proba(self._vectors.transform(texts))[:, 1])


class EncoderVectors:
    """A text as the mean of the last hidden states of a pretrained encoder. source: as `model.source` has it."""

    def __init__(self, source: str, max_length: int):
        if source == RANDOM:
            raise InputError(
                "--probe needs a run of a pretrained encoder; model.source is 'random'"
            )
        opened = open_classifier(source, labels=("unused",))
        if isinstance(opened.module, EncoderClassifier):
            max_length = min(max_length, opened.module.config.max_length)
        tokenizer = load_classifier_tokenizer(opened.directory, max_length)
        self._encoder = TextClassifier(opened.module, opened.read(), tokenizer)

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, embed]."""
        return self._encoder.mean_states(texts)

    def fit_transform(self, texts: Sequence[str]) -> np.ndarray:
        """As `transform`: nothing is learned of the texts."""
        return self.transform(texts)


def probe(seed: int) -> Pipeline:
    """The logistic regression on an encoder's vectors, each of their elements scaled to unit variance."""
    model = LogisticRegression(C=0.01, max_iter=1000, random_state=seed)
    return make_pipeline(StandardScaler(), model)


def classifier_table(config: Any, ours: dict[str, Any], with_probe: bool) -> str:
    """AUC with its interval, and accuracy, on the held-out rows and on `data.transfer`."""
    baselines = {"baseline": WordClassifier(config)}
    if with_probe:
        longest = config.evaluation.max_length or config.data.max_length
        vectors = EncoderVectors(config.model.source, longest)
        baselines["probe"] = WordClassifier(config, vectors, probe(config.seed))
    sets = {"evaluation": baselines["baseline"].evaluation}
    if config.data.transfer.source != NONE:
        sets["transfer"] = read_rows(config.data.transfer, "transfer")
    header = ["rows", "number", "AUC", "interval", "accuracy"]
    for name in baselines:
        header += [f"{name} AUC", f"{name} interval", f"{name} accuracy"]
    bootstrap = Bootstrap(1000, 0.95, config.seed)
    lines = []
    for name, rows in sets.items():
        right = baselines["baseline"].is_positive(rows, name)
        low, high = ours[name].get("auc low"), ours[name].get("auc high")
        own = "" if low is None else f"({low:.3f}, {high:.3f})"
        line = [name, len(rows), ours[name]["auc"], own, ours[name]["accuracy"]]
        for baseline in baselines.values():
            found = baseline([row["text"] for row in rows])
            area = auc_interval(found, right, bootstrap)
            line += [area.mean, _bounds(area), float(((found > 0.5) == right).mean())]
        lines.append(line)
    return markdown_table(header, lines)


def _bounds(interval: Interval) -> str:
    return f"({interval.low:.3f}, {interval.high:.3f})"


def judge_table(config: Any, runs: Sequence[pathlib.Path]) -> str:
    """p(positive) of the responses of PPO runs before and after, with a paired interval and p-value by prompt."""
    samples = [read_samples(run) for run in runs]
    baseline = WordClassifier(config)
    bootstrap = Bootstrap(2000, 0.95, config.seed)
    lines = []
    for run, (ids, before, after) in zip(runs, samples, strict=True):
        _, prompts = np.unique(ids, return_inverse=True)
        one, two = baseline(before), baseline(after)
        change = paired_difference(two, one, bootstrap, prompts)
        lines.append(
            [
                run.name, len(ids), len(np.unique(prompts)), bootstrap_mean(one, bootstrap, prompts).mean,
                bootstrap_mean(two, bootstrap, prompts).mean,
                f"{change.mean:+.4f} ({change.low:+.4f}, {change.high:+.4f})",
                paired_p_value(one, two, bootstrap.seed, prompts),
            ]
        )  # fmt: skip
    header = ("run", "responses", "prompts", "before", "after", "difference", "p")
    return markdown_table(header, lines)


def read_samples(run: pathlib.Path) -> tuple[list[str], list[str], list[str]]:
    """The prompts' ids, the responses before and those after, of a PPO run's samples.jsonl.

    Raises:
      InputError: there is no such file, or a line is none of a PPO run.
    """
    file = run / "samples.jsonl"
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(
            f"{file}: {error.strerror}; name workdirs of configs/lab3_ppo.py"
        ) from error
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            fields = [str(record[name]) for name in ("id", "response before", "response after")]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}:{number}: not a sample of a PPO run ({error})") from error
        for column, field in zip(found, fields, strict=True):
            column.append(field)
    return found


def reward_table(config: Any, ours: dict[str, Any]) -> str:
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
    parser.add_argument(
        "--judge", type=pathlib.Path, nargs="+", metavar="PPO_RUN",
        help="workdirs of PPO runs whose responses the baseline of a classifier's run judges",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action="store_true",
        help="a linear probe on the pretrained encoder of a classifier's run beside it",
    )  # fmt: skip
    arguments = parser.parse_args()
    folder = arguments.run
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{folder}: not the folder of a finished run ({error})")
    try:
        if arguments.judge and "classification" not in report:
            sys.exit(f"{folder}: --judge needs the run of a classifier")
        if arguments.judge:
            table = judge_table(read_config(report["config"]), arguments.judge)
        elif "classification" in report:
            table = classifier_table(
                read_config(report["config"]), report["classification"], arguments.probe
            )
        elif report["config"]["task"] == "reward":
            table = reward_table(read_config(report["config"]), report["preferences"])
        else:
            sys.exit(f"{folder}: neither a classifier's run nor a reward model's")
    except InputError as error:
        sys.exit(str(error))
    print(table)


if __name__ == "__main__":
    main()
