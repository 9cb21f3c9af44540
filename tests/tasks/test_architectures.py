"""Three architectures by configs/architectures.py: one table, each learns, bad input is refused."""

import json

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.architectures import run as architectures

TINY = {"logging.tensorboard": "False"}


@pytest.mark.slow
def test_each_learns_and_one_table_compares_them(tmp_path):
    rows = [
        {"id": str(i), "dialogue": text, "situation": kind}
        for i, (text, kind) in enumerate(
            [("we eat soup and bread", "food"), ("the train is late again", "travel")] * 8
        )
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    new = tmp_path / "new.jsonl"
    unknown = {"id": "x", "dialogue": "a stone", "situation": "geology"}
    new.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:2], unknown]))
    settings = TINY | {
        "data.train.source": str(file),
        "data.train.split": "",
        "data.evaluation.source": str(new),
        "data.evaluation.split": "",
        "tokenizer.vocab_size": "128",
        "train.steps": "40",
        "evaluation.every_steps": "40",
    }
    config = load_config("architectures.py:runlocal", settings)
    architectures.run(config, str(tmp_path / "run"))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "2 rows of 2 classes (1 rows left out" in report["summary"]
    table = {row["architecture"]: row for row in report["architectures"]}
    assert set(table) == {"encoder_only", "encoder_decoder", "decoder_only"}
    for row in table.values():
        assert row["right, %"].startswith("100.0 "), row
    # A T5's decoder layer has cross-attention on top: more weights at as many layers.
    assert table["encoder_only"]["parameters"] == table["decoder_only"]["parameters"]
    assert table["encoder_decoder"]["parameters"] > table["encoder_only"]["parameters"]
    sample = report["samples"][1]
    assert sample["class"] == sample["encoder_only"] == sample["decoder_only"] == "travel"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.label": "kind"}, "config.data.target names 'kind'"),
        ({"tokenizer.extra_ids": "2"}, "tokenizer.extra_ids: .* classes need as many sentinels"),
        ({"tokenizer.source": "model"}, "config.tokenizer.source: these models are new"),
        ({"data.evaluation.source": "bundled"}, None),
    ],
)
def test_bad_input(changes, message, tmp_path):
    if message is None:  # classes that training does not have
        changes = changes | {"data.train.limit": "1", "data.evaluation.limit": "1"}
        message = "no row has a 'situation' that a training row has"
    with pytest.raises(InputError, match=message):
        architectures.run(load_config("architectures.py:runlocal", TINY | changes), str(tmp_path))
