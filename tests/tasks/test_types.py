"""Runs whose weights are kept in bfloat16, and the types that nothing is trained in."""

import json

import jax
import numpy as np
import pytest
from etils import epath
from safetensors.flax import load_file

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.interop import opened
from t5x_lite.interop.hf import load_hf
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.paths import flatten
from t5x_lite.tasks.classifier import run as classifier
from t5x_lite.tasks.dpo import run as dpo
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.tasks.ppo import run as ppo
from t5x_lite.wiring.classifier_training import load_classifier

BFLOAT16 = {"model.param_dtype": "bfloat16"}
FEW_TEXTS = {
    "data.train.limit": "32",
    "tokenizer.vocab_size": "400",
    "train.steps": "2",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "2",
    "checkpoint.every_steps": "2",
}


def types_of(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


@pytest.mark.slow
def test_accumulated_steps_move_bfloat16_weights_and_go_on(tiny_config, tmp_path):
    """Adam's steps of 1e-3 are a quarter of bfloat16's spacing below 1, where the norms' scales begin."""
    config = tiny_config(
        BFLOAT16
        | {
            "batch.accumulation": "2",
            "batch.size": "16",
            "optimizer.name": "adamw",
            "optimizer.rate_multipliers": "()",
            "schedule.name": "constant",
            "schedule.learning_rate": "1e-3",
            "schedule.warmup_steps": "0",
        }
    )
    finetune.run(config, str(tmp_path / "run"))
    _, after = load_hf(tmp_path / "run" / "model", param_dtype=None)
    assert types_of(after) == {"bfloat16"}
    scales = {path: leaf for path, leaf in flatten(after).items() if path.endswith("/scale")}
    assert scales and all(np.any(np.asarray(scale) < 1) for scale in scales.values())
    finetune.run(config, str(tmp_path / "run"))  # reads the checkpoint: the state is what it says


@pytest.mark.slow
def test_a_classifier_is_kept_in_bfloat16_and_goes_on(tmp_path):
    config = load_config("classifier.py:runlocal", BFLOAT16 | FEW_TEXTS)
    classifier.run(config, str(tmp_path / "run"))
    tensors = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert types_of(tensors) == {"bfloat16"}
    report = (tmp_path / "run" / "report.json").read_bytes()
    classifier.run(config, str(tmp_path / "run"))
    again = (tmp_path / "run" / "report.json").read_bytes()
    assert json.loads(report)["classification"] == json.loads(again)["classification"]


@pytest.mark.slow
def test_a_reward_model_from_a_t5_is_read_into_its_shards_with_a_new_head(tmp_path, monkeypatch):
    """Of the same type. No tensor of the T5 lies whole on a device on the way."""
    read, largest = opened.OpenedModel.read, []

    def reading(self, dtype, shardings=None):
        params = read(self, dtype, shardings)
        kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1 and leaf.shape[0] > 64]
        largest.extend(leaf.addressable_shards[0].data.size / leaf.size for leaf in kernels)
        return params

    monkeypatch.setattr(opened.OpenedModel, "read", reading)
    changes = {
        "model.source": "nano",
        "tokenizer.source": "model",
        "mesh.data": "1",
        "mesh.fsdp": "8",
    }
    config = load_config("reward.py:runlocal", BFLOAT16 | changes)
    mesh = make_mesh(config.mesh.sizes())
    with on_mesh(mesh):
        loaded = load_classifier(config, ("reward",), [], mesh, epath.Path(tmp_path))
        params = loaded.make()
    assert types_of(loaded.abstract) == types_of(params) == {"bfloat16"}
    assert largest and max(largest) == 1 / 8


def test_nothing_is_trained_in_float16(tiny_config, tmp_path):
    float16 = {"model.dtype": "float16"}
    message = r"config\.model\.dtype: 'float16' is for generation .* take 'bfloat16'"
    with pytest.raises(InputError, match=message):
        finetune.run(tiny_config(float16), str(tmp_path / "finetune"))
    with pytest.raises(InputError, match=message):
        dpo.run(load_config("dpo.py:runlocal", float16), str(tmp_path / "dpo"))
    with pytest.raises(InputError, match=message):
        ppo.run(load_config("lab3_ppo.py:runlocal", float16), str(tmp_path / "ppo"))
    with pytest.raises(InputError, match=message):
        classifier.run(load_config("classifier.py:runlocal", float16), str(tmp_path / "classifier"))
    # The folder is free for the config put right.
    assert not (tmp_path / "classifier" / "config.json").exists()
