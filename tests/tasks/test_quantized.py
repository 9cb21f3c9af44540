"""Runs over a base in integers: an adapter learns on it, all weights cannot."""

import json

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.tasks.finetune import run as finetune
from tests.tasks.test_adapters import LORA

INT8 = {"model.quantization": "int8"}


def test_an_adapter_is_trained_on_integers(tiny_config, tmp_path):
    config = tiny_config(LORA | INT8)
    finetune.run(config, str(tmp_path / "run"))
    report = json.loads((tmp_path / "run/report.json").read_text())
    check = report["adapter_check"]
    assert check["learned"] and check["frozen weights unchanged"]
    assert check["evaluation loss with the adapter"] < check["evaluation loss without the adapter"]
    # What is exported computes as the run did: the integers' floats, the adapter merged or beside them.
    model = load_pretrained(tmp_path / "run/model")
    tokens = np.asarray([[5, 6, 7, 1]], np.int32)
    assert model.generate_tokens(tokens, max_new_tokens=4).shape == (1, 4)


def test_integers_are_not_trained(tiny_config, tmp_path):
    with pytest.raises(InputError, match="config.model.quantization: .*integers cannot be"):
        finetune.run(tiny_config(INT8), str(tmp_path / "run"))
    assert not (tmp_path / "run/metrics.jsonl").exists()
