"""The baseline of words: on the bundled texts it tells what words can tell, and its table has both sides."""

import json
import pathlib
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from t5x_lite.config import load_config
from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.sources import load_rows
from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.models.classifier_init import init_jitted, token_example
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.sections import to_dict

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "word_baseline.py"


def table_of(folder, report, *arguments):
    (folder / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    header, _, *lines = result.stdout.strip().splitlines()
    names = [name.strip() for name in header.strip("|").split("|")]
    return [
        dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        for line in lines
    ]


@pytest.mark.slow
def test_beside_a_classifier(tmp_path):
    config = to_dict(load_config("classifier.py", {}))
    ours = {"evaluation": {"auc": 0.5, "accuracy": 0.25, "rows": 200}}
    (line,) = table_of(tmp_path, {"config": config, "classification": ours})
    assert float(line["AUC"]) == 0.5 and float(line["accuracy"]) == 0.25
    area, (low, high) = float(line["baseline AUC"]), interval_of(line["baseline interval"])
    assert low < area < high and area > 0.9 and float(line["baseline accuracy"]) > 0.8


def interval_of(cell):
    return [float(bound) for bound in cell.strip("()").split(",")]


def save_encoder(folder, texts):
    """A BERT of random weights that knows the words of the texts."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )
    config = EncoderConfig(
        family="bert", vocab_size=len(vocabulary), d_model=128, d_ff=16, num_layers=1, num_heads=2,
        max_positions=96, labels=("a",), initializer_range=0.5,
    )  # fmt: skip
    module = EncoderClassifier(config)
    params = init_jitted(module, jax.random.key(0), token_example())
    save_classifier(folder, module, params, ClassifierTokenizer(tokenizer, 96))


def area_by_torch(folder, train, evaluation):
    """The probe's area under the curve with torch's hidden states, each text read alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval().bert

    def vectors(rows):
        means = []
        for row in rows:
            tokens = torch.tensor([tokenizer(row["text"])["input_ids"]])
            with torch.no_grad():
                means.append(model(input_ids=tokens).last_hidden_state[0].mean(0).numpy())
        return np.stack(means)

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    probe.fit(vectors(train), [row["label"] for row in train])
    found = probe.predict_proba(vectors(evaluation))[:, list(probe.classes_).index("1")]
    return roc_auc_score([row["label"] == "1" for row in evaluation], found)


@pytest.mark.slow
def test_a_probe_on_the_frozen_encoder_beside_both(tmp_path):
    train, evaluation = (
        load_rows(
            "bundled/toxicity", split, {"text": "text", "label": "label"}, id_column="id",
            exclude="", limit=150,
        )
        for split in ("train", "test")
    )  # fmt: skip
    save_encoder(tmp_path / "encoder", [row["text"] for row in train])
    changes = {
        "model.source": str(tmp_path / "encoder"), "data.train.limit": "150",
        "data.evaluation.limit": "150",
    }  # fmt: skip
    config = load_config("classifier.py", changes).to_dict()
    ours = {"evaluation": {"auc": 0.5, "auc low": 0.4, "auc high": 0.6, "accuracy": 0.25}}
    report = {"config": config, "classification": ours}
    (line,) = table_of(tmp_path, report, "--probe")
    assert interval_of(line["interval"]) == [0.4, 0.6]
    area, (low, high) = float(line["probe AUC"]), interval_of(line["probe interval"])
    assert low < area < high
    assert area == pytest.approx(area_by_torch(tmp_path / "encoder", train, evaluation), abs=2e-3)
    assert area != float(line["baseline AUC"])
    report["config"]["model"]["source"] = "random"
    (tmp_path / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "--probe"], capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 1 and "needs a run of a pretrained encoder" in result.stderr


@pytest.mark.slow
def test_beside_a_reward_model(tmp_path):
    """Insults and copied turns show in the words alone; the facts of a dialogue do not."""
    config = to_dict(load_config("reward.py", {}))
    ours = {"accuracy": 0.9, "low": 0.8, "high": 1.0}
    (line,) = table_of(tmp_path, {"config": config, "preferences": ours})
    assert line["accuracy"] == "0.900 (0.800, 1.000)"
    assert 0.6 < float(line["baseline accuracy"]) < 0.9


@pytest.mark.slow
def test_as_a_judge_of_what_ppo_runs_wrote(tmp_path):
    """Two draws to each of ten prompts: rude before and not after, and the other way round."""
    report = {"config": to_dict(load_config("classifier.py", {})), "classification": {}}
    rude, kind = "The stupid idiot wants a damn refund.", "The customer wants a refund, please."
    for name, texts in (("better", (rude, kind)), ("worse", (kind, rude))):
        (tmp_path / name).mkdir()
        record = dict(zip(("response before", "response after"), texts, strict=True))
        lines = [json.dumps({"id": f"row {i % 10}", **record}) for i in range(20)]
        (tmp_path / name / "samples.jsonl").write_text("\n".join(lines) + "\n")
    better, worse = table_of(
        tmp_path, report, "--judge", tmp_path / "better", tmp_path / "worse"
    )  # fmt: skip
    assert (better["run"], better["responses"], better["prompts"]) == ("better", "20", "10")
    assert float(better["before"]) > 0.5 > float(better["after"])
    assert (better["before"], better["after"]) == (worse["after"], worse["before"])
    assert better["difference"].startswith("-") and worse["difference"].startswith("+")
    # All ten differences have one sign: of the 2^10 signs two give as much.
    assert float(better["p"]) == pytest.approx(2 / 1024, abs=2e-3)
    with (tmp_path / "worse" / "samples.jsonl").open("a") as file:
        file.write('{"id": "row 3", "response be')
    script = runpy.run_path(str(SCRIPT))
    for run, message in (("worse", "samples.jsonl:21: not a sample"), ("no", "no/samples.jsonl")):
        with pytest.raises(InputError, match=message):
            script["read_samples"](tmp_path / run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "report, message",
    [(None, "not the folder of a finished run"), ({"config": {"task": "ppo"}}, "neither a")],
)
def test_another_folder_is_named(tmp_path, report, message):
    if report:
        (tmp_path / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 1 and message in result.stderr
