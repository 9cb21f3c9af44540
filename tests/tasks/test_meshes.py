"""Every task on eight devices, however the mesh cuts them, does what it does on one: losses, texts, scores.

Whole runs, from config to files: what is compared is what they leave. Slow tests, all of them: by default a training
step (tests/parallel/test_agreement.py) and a PPO loop (tests/rl/test_loop.py) stand for them.
"""

import importlib
import json
import math

import jax
import pytest

from t5x_lite.config import load_config
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.rules import MESH_AXES

SIZES = [(8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2)]
OF_TWO_SLICES = [(2, 4, 1, 1), (2, 1, 2, 2)]
# Below this a decision may fall either way.
MARGIN = 1e-4
# Every sharded axis can be cut into eight.
MODEL = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "4",
    "model.architecture.d_ff": "32",
    "model.architecture.num_heads": "8",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
    "tokenizer.vocab_size": "300",
    "logging.tensorboard": "False",
    "logging.every_steps": "1",
    "schedule.warmup_steps": "1",
    # AdamW moves a weight whose gradient is rounding noise by a whole step; with this it does not.
    "optimizer.eps": "0.001",
}
SUPERVISED = MODEL | {"train.steps": "4", "checkpoint.every_steps": "4"}
TEXTS = SUPERVISED | {
    "data.encoder_length": "32",
    "data.decoder_length": "16",
    "data.train.limit": "24",
    "data.evaluation.limit": "8",
    "evaluation.every_steps": "4",
    "evaluation.bootstrap_samples": "20",
    "generation.max_new_tokens": "8",
}
TASKS = {
    "full": ("quickstart.py:runlocal", TEXTS | {"batch.buckets": "((32, 16),)", "generation.num_beams": "3"}),
    "lora": (
        "lora.py:runlocal",
        TEXTS | {"data.encoder_length": "64", "batch.buckets": "((64, 16),)", "batch.multiple": "16"},
    ),
    "dpo": ("dpo.py:runlocal", TEXTS | {"batch.size": "8"}),
    "classifier": ("classifier.py:runlocal", SUPERVISED | {"evaluation.every_steps": "4"}),
    "reward": (
        "reward.py:runlocal",
        SUPERVISED | {"evaluation.every_steps": "4", "evaluation.bootstrap_samples": "20"},
    ),
    "ppo": (
        "lab3_ppo.py:runlocal",
        MODEL | {
            "data.encoder_length": "32",
            "data.decoder_length": "16",
            "rollout.length": "6",
            "ppo.steps": "2",
            "ppo.prompts": "8",
            "ppo.minibatch_size": "8",
            "checkpoint.every_steps": "2",
            "evaluation.every_steps": "2",
            "evaluation.rows_while_training": "8",
            "evaluation.batch_size": "8",
            "evaluation.bootstrap_samples": "20",
            "evaluation.best_of": "1",
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """outcome(task, mesh sizes) -> its metrics by step, and the texts that it wrote. Each is run once."""
    known = {}

    def run(name, sizes):
        if (name, sizes) in known:
            return known[name, sizes]
        file, changes = TASKS[name]
        mesh = dict(zip(MESH_AXES[-len(sizes) :], sizes, strict=True))
        config = load_config(file, changes | {f"mesh.{a}": str(n) for a, n in mesh.items()})
        task = importlib.import_module(f"t5x_lite.tasks.{config.task}.run")
        folder = tmp_path_factory.mktemp(name) / "run"
        devices = jax.devices()[: math.prod(sizes)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "make_mesh", lambda sizes: make_mesh(sizes, devices))
            task.run(config, str(folder))
        known[name, sizes] = metrics_of(folder), texts_of(folder)
        return known[name, sizes]

    return run


def metrics_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith(("time/", "env/"))} for r in records]


def texts_of(folder):
    file = folder / "samples.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def compare(found, expected):
    """Numbers to 1e-5: of themselves, or, of differences between likelihoods, of a nat. The rest is the same."""
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected, strict=True):
        assert record.keys() == wanted.keys()
        for name, value in wanted.items():
            if not isinstance(value, float):
                assert record[name] == value, name
                continue
            if name == "accuracy" and abs(wanted.get("margin", 1.0)) < MARGIN:
                continue  # near its beginning DPO prefers neither: which it counts right is rounding
            loss = name.rpartition("/")[2] == "loss"
            assert record[name] == pytest.approx(value, rel=1e-5, abs=0 if loss else 1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES + OF_TWO_SLICES, ids=str)
@pytest.mark.parametrize("name", TASKS)
def test_a_task_agrees_with_one_device(outcome, name, sizes):
    expected_metrics, expected_texts = outcome(name, (1, 1, 1))
    metrics, texts = outcome(name, sizes)
    losses = [record for record in expected_metrics if {"loss", "ppo/loss/total"} & record.keys()]
    assert len(losses) == (2 if name == "ppo" else 4)
    compare(metrics, expected_metrics)
    compare(texts, expected_texts)
