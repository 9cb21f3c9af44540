"""Which checkpoints a run keeps, by its config."""

import json

import numpy as np
import orbax.checkpoint as orbax
import pytest
from safetensors.numpy import load_file

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.finetune import run as finetune


def test_a_run_keeps_the_last_the_best_and_every_so_manieth(tiny_config, tmp_path):
    """Here the best is the largest loss, which is that of the first evaluation."""
    changes = {
        "train.steps": "5", "evaluation.every_steps": "1", "checkpoint.every_steps": "1", "checkpoint.keep": "1",
        "checkpoint.keep_best": "1", "checkpoint.keep_every": "2", "checkpoint.best_mode": "max",
        "checkpoint.export": "best",
    }  # fmt: skip
    finetune.run(tiny_config(changes), str(tmp_path))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {r["step"]: r["evaluation/loss"] for r in records if "evaluation/loss" in r}
    best = max(losses, key=lambda step: losses[step])
    assert len(losses) == 5 and best in (1, 3), losses  # neither the last nor an even one
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {2, 4, 5, best}
    told = json.loads((tmp_path / "report.json").read_text())["training"]
    assert (told["best step"], told["evaluation loss"]) == (best, losses[best])
    exported = load_file(tmp_path / "model" / "model.safetensors")["shared.weight"]
    for step, same in ((best, True), (5, False)):
        saved = orbax.PyTreeCheckpointer().restore(tmp_path / "checkpoints" / str(step) / "state")
        assert np.array_equal(saved["params/token_embedder/embedding"], exported) == same


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (
            "finetune.py:runlocal",
            {"checkpoint.every_steps": "4", "checkpoint.keep_every": "6"},
            "config.checkpoint.keep_every is 6, and there is a checkpoint every 4 steps",
        ),
        (
            "finetune.py:runlocal",
            {"checkpoint.every_steps": "4", "checkpoint.keep_best": "1", "evaluation.every_steps": "6"},
            "config.checkpoint.keep_best: not every step that is evaluated is saved",
        ),
        (
            "lab3_ppo.py:runlocal",
            {"checkpoint.every_steps": "4", "checkpoint.keep_best": "1", "evaluation.every_steps": "6"},
            "config.checkpoint.keep_best: not every step that is evaluated is saved",
        ),
        (
            "lab3_ppo.py:runlocal",
            {"checkpoint.keep_best": "1", "evaluation.rows_while_training": "0"},
            "config.checkpoint.keep_best: config.evaluation.rows_while_training is 0",
        ),
        (
            "finetune.py:runlocal",
            {"checkpoint.export": "best"},
            "config.checkpoint.export is 'best', and checkpoint.keep_best 0: keep 1",
        ),
        ("dpo.py:runlocal", {"checkpoint.best_mode": "least"}, "config.checkpoint.best_mode must be"),
    ],
)  # fmt: skip
def test_what_could_not_be_kept_is_refused(spec, changes, message):
    with pytest.raises(InputError) as error:
        load_config(spec, changes)
    assert message in str(error.value)
