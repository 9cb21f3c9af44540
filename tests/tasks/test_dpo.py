"""The task `dpo` from config to report: what it leaves, with an adapter and without; repeated, and stopped."""

import json

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.dpo import run as dpo

TINY = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "tokenizer.vocab_size": "300",
    "data.encoder_length": "32",
    "data.decoder_length": "16",
    "data.train.limit": "24",
    "data.evaluation.limit": "8",
    "batch.size": "8",
    "train.steps": "6",
    "schedule.learning_rate": "0.02",
    "loss.beta": "0.1",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "3",
    "logging.every_steps": "1",
    "evaluation.bootstrap_samples": "20",
    "checkpoint.every_steps": "2",
    "generation.max_new_tokens": "8",
}
FULL = {"adapter": "{'method': 'none'}", "train.trainable": "full"}
RESULTS = ("samples.jsonl", "before/samples.jsonl", "adapter/adapter_model.safetensors")


def tiny(changes=None):
    return load_config("dpo.py:runlocal", TINY | (changes or {}))


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("time/")} for r in records]


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo") / "run"
    dpo.run(tiny(), str(folder))
    return folder


def test_it_begins_as_its_reference_and_leaves_an_adapter(lora_run):
    steps = [r for r in metrics_of(lora_run) if "loss" in r]
    assert steps[0]["loss"] == pytest.approx(np.log(2), rel=1e-4)
    assert abs(steps[0]["margin"]) < 1e-3
    assert steps[-1]["loss"] < steps[0]["loss"] and not any(r["skipped"] for r in steps)
    report = report_of(lora_run)
    assert report["training"]["train pairs"] == 24
    preferences = report["preferences"]
    assert preferences["pairs"] == 8 and preferences["mean margin"] != 0
    last = [r for r in metrics_of(lora_run) if "evaluation/loss" in r][-1]
    assert preferences["mean margin"] == pytest.approx(last["evaluation/margin"], abs=1e-6)
    assert set(report["scores"]) == {"before", "after"}
    assert {"text before", "text after", "chosen", "rejected"} <= set(report["samples"][0])
    t5 = load_pretrained(lora_run)
    assert t5.adapter == "default"  # on the random base, which is in model/


def test_the_implicit_rewards_are_those_of_the_models_that_it_leaves(lora_run):
    """beta log(pi / ref) of the reported margin, from the saved files alone."""
    t5 = load_pretrained(lora_run)
    config = tiny()
    margins = []
    for row in report_of(lora_run)["samples"]:
        line = json.loads(
            next(x for x in (lora_run / "samples.jsonl").open() if json.loads(x)["id"] == row["id"])
        )
        assert line["output"] == row["text after"]
        _, evaluation = dpo.read_with_holdout(config.data, config.seed)
        (pair,) = [r for r in evaluation if r["id"] == row["id"]]
        sides = dpo._sides(config.data, [pair], t5.tokenizer, "test")
        rewards = []
        for side in sides:
            tokens, target = side.example(0, 0)
            batch = {
                "encoder_input_tokens": tokens[None],
                "decoder_input_tokens": np.array([[0, *target[:-1]]]),
            }
            logs = []
            for name in ("default", None):
                t5.set_adapter(name)
                logits = np.asarray(t5.logits(batch), np.float64)[0]
                logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
                logs.append(sum(logits[t, token] for t, token in enumerate(target)))
            rewards.append(0.1 * (logs[0] - logs[1]))
        assert rewards[0] == pytest.approx(row["implicit reward of chosen"], abs=1e-4)
        assert rewards[1] == pytest.approx(row["implicit reward of rejected"], abs=1e-4)
        margins.append(rewards[0] - rewards[1])
    assert np.ptp(margins) > 0


@pytest.mark.slow
def test_a_second_run_and_a_stopped_one_are_the_same_to_the_bit(lora_run, tmp_path, stopped_at):
    with stopped_at(3):
        dpo.run(tiny(), str(tmp_path / "stopped"))
    for folder in (tmp_path / "again", tmp_path / "stopped"):
        dpo.run(tiny(), str(folder))
        assert metrics_of(folder) == metrics_of(lora_run)
        for name in RESULTS:
            assert (folder / name).read_bytes() == (lora_run / name).read_bytes(), name


@pytest.mark.slow
def test_all_weights_by_ipo_with_stacked_layers(tmp_path):
    changes = FULL | {"loss.kind": "ipo", "loss.beta": "0.5", "loss.chunk": "5"}
    changes |= {"model.scan_layers": "True", "schedule.learning_rate": "1e-3"}
    dpo.run(tiny(changes), str(tmp_path))
    steps = [r for r in metrics_of(tmp_path) if "loss" in r]
    assert steps[0]["loss"] == pytest.approx((1 / (2 * 0.5)) ** 2, rel=1e-3)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"loss.beta": "0"}, "loss.beta must be a number > 0"),
        (
            {"data.train.columns": "{'dialogue': 'dialogue', 'chosen': 'chosen'}"},
            "need the column 'rejected'",
        ),
        (
            {"data.evaluation.columns": "{'dialogue': 'dialogue', 'rejected': 'rejected'}"},
            "need the column 'chosen'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        dpo.run(tiny(changes), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
