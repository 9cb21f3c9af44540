"""Runs that diverge, of every task that trains: none says it succeeded, none exports weights, all say why."""

import importlib
import json

import numpy as np
import pytest

from t5x_lite import main
from t5x_lite.config import load_config
from t5x_lite.errors import Diverged, InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.interop.tensors import Tensor, open_safetensors, write_safetensors
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.outcome import is_finished
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import supervised, trained_sources

# The second update is the first that is skipped: the first made weights of 1e10 and more.
TOO_FAST = {"schedule.learning_rate": "1e10", "schedule.warmup_steps": "0"}


def diverge(config, folder):
    """The error that the run ends with."""
    with pytest.raises(Diverged) as raised:
        finetune.run(config, str(folder))
    return raised.value


def test_a_rate_that_is_too_high(tiny_config, tmp_path):
    error = diverge(tiny_config(TOO_FAST | {"divergence.in_a_row": "3"}), tmp_path)
    assert (error.first, error.step) == (2, 4)
    assert "updates in a row were skipped" in str(error) and "\n" not in str(error)
    assert "/" in error.tensor and error.examples
    assert not (tmp_path / "model").exists()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["diverged"]["began at step"] == 2
    assert report["diverged"]["rows of the batch where it began"] == ", ".join(error.examples)
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert [line for line in lines if line][1] == "## Diverged"
    assert "3 updates of 4 steps were skipped" in report["went wrong"]
    assert not is_finished(tmp_path)
    # The same command says the same again; what is skipped on purpose is a success that says so.
    again = diverge(tiny_config(TOO_FAST | {"divergence.in_a_row": "3"}), tmp_path)
    assert (again.first, again.step, again.tensor) == (error.first, error.step, error.tensor)


def test_the_program_has_a_status_of_its_own(tiny, tmp_path, monkeypatch, capsys):
    changes = TOO_FAST | tiny
    flags = [f"--config.{name}={value}" for name, value in changes.items()]
    monkeypatch.setattr(main.console, "setup", lambda: None)
    monkeypatch.setattr(
        "sys.argv",
        ["t5x-lite", "--config", "quickstart.py:runlocal", f"--workdir={tmp_path}", *flags],
    )
    with pytest.raises(SystemExit) as left:
        main.run()
    last = capsys.readouterr().err.splitlines()[-1]
    assert left.value.code == 3
    assert last.startswith("t5x-lite: diverged at step 2: 5 updates in a row were skipped")


def test_a_run_that_skips_says_so_at_the_top_of_its_report(tiny_config, tmp_path):
    """One batch of which every loss is infinite."""
    changes = {"divergence.action": "skip", "train.steps": "4", "loss.z_loss": "1e38"}
    finetune.run(tiny_config(changes), str(tmp_path))
    lines = [line for line in (tmp_path / "report.md").read_text().splitlines() if line]
    assert lines[1] == "## Went wrong"
    assert lines[2].startswith(
        "> **Note:** 4 updates of 4 steps were skipped, since their loss or gradient was not finite. What to do: "
    )


def test_all_updates_skipped_in_a_run_shorter_than_the_count(tiny_config, tmp_path):
    changes = {"train.steps": "3", "loss.z_loss": "1e38"}
    error = diverge(tiny_config(changes), tmp_path)
    assert "all of its 3 updates were skipped" in str(error)
    # Its last checkpoint is that of the last step: going on from there is no success, either.
    assert "all of its 3 updates" in str(diverge(tiny_config(changes), tmp_path))


def test_an_update_that_breaks_the_weights(tiny_config, tmp_path):
    """Adam without epsilon divides 0 by 0 where a row of the embedding has had no gradient."""
    error = diverge(tiny_config({"optimizer.eps": "0.0"}), tmp_path)
    assert (error.first, error.step) == (1, 1)
    assert "weights without a finite norm" in str(error) and error.tensor.startswith("params/")
    assert not (tmp_path / "model").exists() and not list((tmp_path / "checkpoints").glob("[0-9]*"))


LORA = {
    "adapter.method": "lora",
    "adapter.targets": '((".*/(query|value)", 2),)',
    "adapter.alpha": "4.0",
    "adapter.dropout": "0.0",
    "adapter.rslora": "False",
    "adapter.dora": "False",
    "train.trainable": "adapters",
    "optimizer.rate_multipliers": "()",
}


@pytest.fixture
def spoilt_batches(monkeypatch):
    """The numbers of batches whose loss is infinite: () at first."""
    batch = supervised._OwnBatches.batch
    numbers = set()

    def spoilt(self, step):
        found = dict(batch(self, step))
        if self.batch_of(step + 1) in numbers:
            weights = found["decoder_loss_weights"]
            found["decoder_loss_weights"] = weights * np.float32(np.inf)
        return found

    monkeypatch.setattr(supervised._OwnBatches, "batch", spoilt)
    return numbers


@pytest.mark.parametrize(
    "adapter", [{}, pytest.param(LORA, marks=pytest.mark.slow)], ids=["all weights", "an adapter"]
)
def test_a_run_rolled_back_takes_other_batches(tiny_config, tmp_path, spoilt_batches, adapter):
    """Two batches are at fault, not the weights: passed over, all goes well."""
    spoilt_batches |= {3, 4}
    changes = {"divergence.action": "roll_back", "divergence.in_a_row": "2"}
    finetune.run(tiny_config(adapter | changes), str(tmp_path))
    rollbacks = json.loads((tmp_path / "rollbacks.json").read_text())
    # The checkpoint of step 4 is amid the two that were skipped: its weights are those before them.
    assert [(one["to"], one["came_from"]) for one in rollbacks] == [(4, 5)]
    records = [record for record in read_metrics(tmp_path) if "loss" in record]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record["skipped"] for record in records] == [0, 0, 0, 1, 0, 0]
    assert (tmp_path / ("adapter" if adapter else "model")).exists()
    assert "1 updates of 6 steps were skipped" in (tmp_path / "report.md").read_text()


def test_a_run_that_always_diverges_is_rolled_back_so_often(tiny_config, tmp_path, spoilt_batches):
    """From its beginning, where there is no checkpoint; the returns are remembered, and are then used up."""
    spoilt_batches |= set(range(100))
    changes = {"divergence.action": "roll_back", "divergence.in_a_row": "2"}
    changes |= {"divergence.rollbacks": "2", "checkpoint.every_steps": "6"}
    error = diverge(tiny_config(changes), tmp_path)
    assert "rolled back 2 times" in str(error) and error.step == 2
    rollbacks = json.loads((tmp_path / "rollbacks.json").read_text())
    assert [(one["to"], one["came_from"]) for one in rollbacks] == [(0, 2), (0, 2)]
    assert "2 updates in a row" in str(diverge(tiny_config(changes), tmp_path))
    assert len(json.loads((tmp_path / "rollbacks.json").read_text())) == 2


def test_a_model_with_a_bad_weight_is_refused_before_anything_is_compiled(
    tiny_config, finished, tmp_path
):
    source = tmp_path / "source"
    source.mkdir()
    for file in (finished.folder / "model").iterdir():
        if file.name == HASHES:  # as a model from elsewhere has none
            continue
        (source / file.name).write_bytes(file.read_bytes())
    arrays = {n: t.read().copy() for n, t in open_safetensors(source / "model.safetensors").items()}
    arrays["shared.weight"][3, 1] = np.nan
    write_safetensors(
        source / "model.safetensors",
        {n: Tensor(a.shape, a.dtype, lambda a=a: a) for n, a in arrays.items()},
    )
    changes = {"model.source": str(source), "tokenizer.source": "model", "model.architecture": "{}"}
    with pytest.raises(InputError, match="shared.weight: 1 of its .* not finite"):
        finetune.run(tiny_config(changes), str(tmp_path / "run"))


def test_a_recipe_that_diverged_is_trained_anew(tmp_path, monkeypatch):
    """Its report is there, and is no finished run's."""
    (tmp_path / "report.json").write_text('{"diverged": {}}')
    started = []

    def start(config, folder):
        started.append(folder)

    monkeypatch.setattr(finetune, "run", start)
    trained_sources.trained("train:quickstart.py:runlocal", tmp_path)
    assert len(started) == 1


TASKS = ("finetune", "lora", "dpo", "classifier", "reward", "pretrain")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TASKS)
def test_every_task_that_trains(recipe, tmp_path):
    changes = TOO_FAST | {"train.steps": "9", "divergence.in_a_row": "3"}
    if recipe in (
        "lora",
        "dpo",
    ):  # large adapters saturate what they act on, and leave the loss finite
        changes["schedule.learning_rate"] = "1e30"
    config = load_config(f"{recipe}.py:runlocal", changes)
    task = importlib.import_module(f"t5x_lite.tasks.{config.task}.run")
    with pytest.raises(Diverged) as raised:
        task.run(config, str(tmp_path))
    assert raised.value.tensor and raised.value.examples
    assert "diverged" in json.loads((tmp_path / "report.json").read_text())
    assert not (tmp_path / "model").exists() and not (tmp_path / "adapter").exists()
