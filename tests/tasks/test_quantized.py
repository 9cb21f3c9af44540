"""Runs over a base in integers: an adapter learns on it, all weights cannot."""

import json

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.evaluate import run as evaluate
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.tasks.ppo import run as ppo
from tests.tasks.test_adapters import LORA
from tests.tasks.test_ppo import judge as judge
from tests.tasks.test_ppo import report_of, tiny

INT8 = {"model.quantization": "int8"}


@pytest.fixture(scope="module")
def base(finished, roughened):
    """Weights that no rounding leaves as they are."""
    return roughened(finished.folder / "model")


@pytest.fixture(scope="module")
def run(base, tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized") / "run"
    source = {
        "model.source": str(base),
        "model.architecture": "{}",
        "tokenizer.source": "model",
    }
    finetune.run(tiny_config(LORA | INT8 | source), str(folder))
    return folder


@pytest.mark.slow
def test_an_adapter_is_trained_on_integers(run):
    report = json.loads((run / "report.json").read_text())
    check = report["adapter_check"]
    assert check["learned"] and check["frozen weights unchanged"]
    assert check["evaluation loss with the adapter"] < check["evaluation loss without the adapter"]


@pytest.mark.parametrize("bits", ["none", "int8"])
def test_its_adapter_is_loaded_on_floats_and_on_integers(base, run, tmp_path, bits):
    changes = {
        "model.source": str(base),
        "model.architecture": "{}",
        "model.quantization": bits,
        "tokenizer.source": "model",
        "adapter.method": "load",
        "adapter.source": str(run / "adapter"),
        "data.evaluation.limit": "8",
        "data.encoder_length": "32",
        "data.decoder_length": "16",
        "generation.max_new_tokens": "4",
        "evaluation.bootstrap_samples": "20",
    }
    evaluate.run(load_config("evaluate.py:runlocal", changes), str(tmp_path / "scored"))
    found = json.loads((tmp_path / "scored/report.json").read_text())["teacher-forced"]
    check = json.loads((run / "report.json").read_text())["adapter_check"]
    # Of integers the same numbers; of floats near ones.
    assert found["evaluation/loss"] == pytest.approx(
        check["evaluation loss with the adapter"], rel=1e-5 if bits == "int8" else 0.05
    )


@pytest.mark.slow
def test_ppo_over_integers(judge, tmp_path):
    """Its rollouts are drawn with the floats that the scorer's integers stand for."""
    ppo.run(tiny(INT8), str(tmp_path / "ppo"))
    metrics = [json.loads(line) for line in (tmp_path / "ppo/metrics.jsonl").open()]
    gaps = [m["ppo/sampler_gap"] for m in metrics if "ppo/sampler_gap" in m]
    assert gaps and max(gaps) < 1e-3
    assert report_of(tmp_path / "ppo")


def test_integers_are_not_trained(tiny_config, tmp_path):
    with pytest.raises(InputError, match="config.model.quantization: .*integers cannot be"):
        finetune.run(tiny_config(INT8), str(tmp_path / "run"))
    assert not (tmp_path / "run/metrics.jsonl").exists()
