"""PPO and DPO in several real processes do what they do in one."""

import json

import jax
import numpy as np
import pytest

from t5x_lite.data.classifier_text import of_vocabulary
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.interop.hub import BUNDLED
from t5x_lite.models.classifier_init import init_module, token_example
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5_classifier import T5Classifier
from tests.parallel.several import alone, ends, start, task, wait_for_step

MODEL = [
    "--config.model.architecture.d_model=16",
    "--config.model.architecture.d_kv=4",
    "--config.model.architecture.num_heads=4",
    "--config.schedule.warmup_steps=1",
    "--config.optimizer.eps=0.001",  # as in tests/tasks/test_meshes.py
]
LENGTH = {
    "kind": "function",
    "weight": 0.5,
    "function": "t5x_lite.rl.functions:length",
    "arguments": {"words": 3},
    "retries": 0,
    "wait_seconds": 0.0,
    "timeout_seconds": 0.0,
}


def records(file):
    """The lines, without what times say."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def numbers(content):
    """The numbers in a JSON value, and the value with None in place of each."""
    found = []

    def part(value):
        if isinstance(value, bool) or not isinstance(value, (int, float, list, dict)):
            return value
        if isinstance(value, dict):
            return {k: part(v) for k, v in value.items() if k not in ("processes", "mesh")}
        if isinstance(value, list):
            return [part(v) for v in value]
        found.append(value)
        return None

    rest = part(content)
    return found, rest


def assert_same_files(found, expected, *names):
    for name in names:
        ours, theirs = (numbers(records(folder / name)) for folder in (found, expected))
        assert ours[1] == theirs[1] and len(theirs[0]) > 0
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def ppo(tmp_path_factory):
    """The arguments of a PPO run with two rewards: of a classifier, on the devices, and of a function, on the hosts."""
    folder = tmp_path_factory.mktemp("judge")
    vocabulary = load_vocabulary(BUNDLED["nano"])
    config = T5Config(
        vocab_size=len(vocabulary.tokenizer), d_model=6, d_kv=3, d_ff=8, num_encoder_layers=1,
        num_decoder_layers=1, num_heads=2, tie_word_embeddings=True, scale_decoder_outputs=True,
    )  # fmt: skip
    module = T5Classifier(config, ("hate", "nothate"), Execution())
    params = init_module(module, jax.random.key(3), token_example())
    # Of zeros, a new head would find all texts alike.
    rng = np.random.default_rng(0)
    params["head"] = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params["head"])
    save_classifier(folder, module, params, of_vocabulary(vocabulary, 64))
    judge = {
        "kind": "classifier", "weight": 1.0, "source": str(folder), "label": "nothate",
        "output": "logit", "text": "{response}",
    }  # fmt: skip
    return [
        "--config=lab3_ppo.py:runlocal", *MODEL, f"--config.toxicity.source={folder}",
        f"--config.rewards={ {'clean': judge, 'length': LENGTH} }", "--config.evaluation.best_of=1",
        "--config.evaluation.bootstrap_samples=20",
        "--config.generation.top_k=0",
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_do_ppo_as_one_does(tmp_path, ppo):
    alone(2, *task(tmp_path / "one", *ppo))
    found = ends(start(task(tmp_path / "two", *ppo), 2))
    assert [status for status, _ in found] == [0, 0], found
    assert "preflight" in found[0][1] and "preflight" not in found[1][1]
    files = "rollouts.jsonl", "metrics.jsonl", "samples.jsonl", "distributions.jsonl"
    assert_same_files(tmp_path / "two", tmp_path / "one", *files)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(2, 1, 2), (1, 4, 1)])
def test_four_processes_do_ppo_as_one_does(tmp_path, ppo, sizes):
    """With `model` over the processes, two of them hold the same responses."""
    mesh = dict(zip(("data", "fsdp", "model"), sizes, strict=True))
    settings = [
        *ppo,
        "--config.ppo.samples_per_prompt=2",
        *(f"--config.mesh.{axis}={size}" for axis, size in mesh.items()),
    ]
    alone(4, *task(tmp_path / "one", *settings))
    found = ends(start(task(tmp_path / "four", *settings), 4))
    assert [status for status, _ in found] == [0] * 4, found
    files = "rollouts.jsonl", "metrics.jsonl", "samples.jsonl"
    assert_same_files(tmp_path / "four", tmp_path / "one", *files)


@pytest.mark.slow
def test_a_killed_ppo_run_goes_on_in_one_process(tmp_path, ppo):
    settings = [*ppo, "--config.ppo.steps=40", "--config.evaluation.every_steps=20"]
    alone(2, *task(tmp_path / "one", *settings))
    processes = start(task(tmp_path / "two", *settings), 2)
    wait_for_step(tmp_path / "two", 3)
    processes[1].kill()
    status, errors = ends(processes)[0]
    assert status != 0 and "process 1 of 2" in errors and "Traceback" not in errors
    alone(2, *task(tmp_path / "two", *settings))
    files = "rollouts.jsonl", "metrics.jsonl", "samples.jsonl"
    assert_same_files(tmp_path / "two", tmp_path / "one", *files)


@pytest.mark.slow
def test_two_processes_do_dpo_as_one_does(tmp_path):
    settings = ["--config=dpo.py:runlocal", *MODEL, "--config.train.steps=4"]
    alone(2, *task(tmp_path / "one", *settings))
    found = ends(start(task(tmp_path / "two", *settings), 2))
    assert [status for status, _ in found] == [0, 0], found
    assert_same_files(tmp_path / "two", tmp_path / "one", "metrics.jsonl", "samples.jsonl")
    reports = [json.loads((tmp_path / w / "report.json").read_text()) for w in ("two", "one")]
    assert reports[0]["preferences"] == pytest.approx(reports[1]["preferences"], abs=1e-5)
