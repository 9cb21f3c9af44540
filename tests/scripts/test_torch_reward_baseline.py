"""The torch baseline is of the run's architecture: with our weights in it, it gives our scores."""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
import torch

from t5x_lite.config import load_config, read_config
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.params.paths import flatten
from t5x_lite.tasks.reward import run as reward

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "torch_reward_baseline.py"
spec = importlib.util.spec_from_file_location("torch_reward_baseline", SCRIPT)
assert spec and spec.loader
baseline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(baseline)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "run"
    changes = {
        "model.kind": "encoder", "data.template": "{response}", "train.steps": "2",
        "evaluation.every_steps": "2", "schedule.warmup_steps": "1", "data.train.limit": "40",
        "data.evaluation.limit": "16",
        "optimizer.rate_multipliers": "(('token_embedder/embedding', 10.0),)",
    }  # fmt: skip
    reward.run(load_config("reward.py:runlocal", changes), str(folder))
    return folder


def with_our_weights(model, params):
    """Our parameters by the names and layouts of transformers' encoder."""
    state = model.state_dict()
    names = {"query": "q", "key": "k", "value": "v", "out": "o"}
    for path, leaf in flatten(params).items():
        array, parts = np.asarray(leaf), path.split("/")
        if path == "token_embedder/embedding":
            targets = ["encoder.shared.weight", "encoder.encoder.embed_tokens.weight"]
        elif parts[0] == "head":
            targets, array = [f"head.{'weight' if parts[1] == 'kernel' else 'bias'}"], array.T
        elif parts[1] == "relpos_bias":
            block, array = "encoder.encoder.block.0.layer.0", array.T
            targets = [f"{block}.SelfAttention.relative_attention_bias.weight"]
        elif parts[1].startswith("encoder_norm") or "final" in parts[1]:
            targets = ["encoder.encoder.final_layer_norm.weight"]
        else:
            block = f"encoder.encoder.block.{parts[1].removeprefix('layers_')}.layer"
            if parts[2] == "attention":
                targets = [f"{block}.0.SelfAttention.{names[parts[3]]}.weight"]
                outer = array.shape[0] * array.shape[1] if parts[3] == "out" else array.shape[0]
                array = array.reshape(outer, -1).T
            elif parts[2] == "mlp":
                targets, array = [f"{block}.1.DenseReluDense.{parts[3]}.weight"], array.T
            else:
                targets = [f"{block}.{int('mlp' in parts[2])}.layer_norm.weight"]
        for target in targets:
            if target in state:
                assert state[target].shape == array.shape, target
                state[target] = torch.tensor(np.ascontiguousarray(array))
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.slow
def test_it_has_the_architecture_of_the_run(run):
    ours = load_text_classifier(run)
    model = baseline.Scorer(baseline.torch_config(ours.module))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(leaf.size for leaf in jax.tree.leaves(ours.params))
    texts = ["#Person1# buys a ticket.", "No."]
    with torch.no_grad():
        tokens = [np.array([ids]) for ids in ours.tokenizer.encode(texts)]
        theirs = [float(with_our_weights(model, ours.params)(one)[0]) for one in tokens]
    np.testing.assert_allclose(ours.logits(texts)[:, 0], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_its_table_has_both(run):
    report = json.loads((run / "report.json").read_text())
    table = baseline.table(read_config(report["config"]), report["preferences"], run)
    _, _, ours, theirs = table.strip().splitlines()
    assert "t5x_lite" in ours and f"{report['preferences']['accuracy']:.3f}" in ours
    assert "torch" in theirs and "| 16 |" in theirs.replace("    ", " ").replace("  ", " ")


def test_another_run_is_refused(run, monkeypatch):
    report = json.loads((run / "report.json").read_text())
    report["config"]["model"]["source"] = "nano"
    config = read_config(report["config"])
    with pytest.raises(SystemExit, match="from random weights"):
        baseline.table(config, report["preferences"], run)
