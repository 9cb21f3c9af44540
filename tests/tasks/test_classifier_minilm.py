"""The recipe of a classifier from a sentence encoder: on a small bare BERT, as the hub has them, and as `runlocal`."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from t5x_lite.config import load_config
from t5x_lite.data.sources import load_rows
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.tasks.classifier import run as classifier

TINY = {
    "batch.size": "8",
    "batch.buckets": "1",
    "train.steps": "3",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "3",
    "evaluation.bootstrap_samples": "20",
    "checkpoint.every_steps": "3",
    "logging.every_steps": "1",
    "logging.tensorboard": "False",
}
COLUMNS = {"text": "text", "label": "label"}


def bundled(limit):
    return load_rows(
        "bundled/toxicity", "train", COLUMNS, id_column="id", exclude="", limit=limit
    )  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BertModel without a head, with a WordPiece tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    plain = transformers.BertTokenizer(
        vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    )
    tokenizer = plain.train_new_from_iterator([row["text"] for row in bundled(200)], 300)
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=128, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_a_bare_encoder_becomes_a_classifier_that_transformers_loads(encoder, tmp_path):
    rows = {
        f"data.{name}.{field}": value
        for name, split in (("train", "train"), ("transfer", "test"))
        for field, value in {
            "source": "bundled/toxicity",
            "split": split,
            "columns.text": "text",
            "columns.label": "label",
            "limit": "60",
        }.items()
    }
    changes = {
        **TINY, **rows, "model.source": str(encoder), "data.labels.nothate": "('0',)",
        "data.labels.hate": "('1',)", "data.max_length": "24", "evaluation.max_length": "128",
    }  # fmt: skip
    classifier.run(load_config("classifier_minilm.py", changes), str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    transfer = report["classification"]["transfer"]
    assert transfer["rows"] == 60 and transfer["auc low"] <= transfer["auc"] <= transfer["auc high"]
    assert sum(line["rows"] for line in report["transfer by length of text"]) == 60
    # What was read of the files is the encoder's, a little further on: three steps at a small rate.
    before = load_file(encoder / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    moved = {n: np.abs(after[f"bert.{n}"] - x).max() for n, x in before.items()}
    assert 0 < moved["encoder.layer.0.output.dense.weight"] <= 4e-4
    assert max(moved.values()) <= 4e-4
    # As whoever loads it reads it: transformers, and a reward or a judge.
    ours = load_text_classifier(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for sample in report["samples"]:
        tokens = tokenizer(sample["text"], return_tensors="pt")
        with torch.no_grad():
            want = theirs.eval()(**tokens).logits[0].softmax(-1).numpy()
        found = ours.probabilities([sample["text"]])[0]
        np.testing.assert_allclose(found, want, atol=1e-5)
        assert sample["p(hate)"] == pytest.approx(float(want[0]), abs=1e-5)


@pytest.mark.slow
def test_runlocal_has_the_recipes_own_settings(tmp_path):
    config = load_config("classifier_minilm.py:runlocal", {**TINY, "data.train.limit": "40"})
    recipe = load_config("classifier_minilm.py:comments", {})
    assert config.train.token_dropout == recipe.train.token_dropout > 0
    assert config.optimizer.rate_multipliers == recipe.optimizer.rate_multipliers
    classifier.run(config, str(tmp_path))
    assert json.loads((tmp_path / "report.json").read_text())["classification"]["evaluation"]["auc"]
