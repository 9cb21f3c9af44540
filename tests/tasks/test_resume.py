"""A run that was stopped, killed or out of disk space, and started again, is the run that never stopped."""

import json
import pathlib
import resource
import shutil
import signal
import sys
import threading
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import load_file

from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.errors import InputError, Stopped
from t5x_lite.sections import to_dict
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import resume, scoring, supervised

SHARED_FILES = ("samples.jsonl", "model/model.safetensors", "model/tokenizer.json")


def metrics_of(folder: pathlib.Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("time/")}
        for line in lines
    ]


def scores_of(folder: pathlib.Path) -> dict:
    return json.loads((folder / "report.json").read_text())["scores"]


def assert_same_run(folder: pathlib.Path, other: pathlib.Path) -> None:
    for name in SHARED_FILES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics_of(folder) == metrics_of(other)
    assert scores_of(folder) == scores_of(other)


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a signal when the batch of a step is fetched; 0 sends none any more."""
    iterate = supervised.iterate
    chosen = {"step": 0, "number": signal.SIGTERM}

    def sending(plan, start, stop, **settings):
        for step, batch in enumerate(iterate(plan, start, stop, **settings), start=start + 1):
            if step == chosen["step"]:
                signal.raise_signal(chosen["number"])
            yield batch

    monkeypatch.setattr(supervised, "iterate", sending)
    return lambda step, number=signal.SIGTERM: chosen.update(step=step, number=number)


def test_the_run_that_never_stopped(finished):
    steps = [record["step"] for record in metrics_of(finished.folder) if "loss" in record]
    evaluations = [r["step"] for r in metrics_of(finished.folder) if "evaluation/loss" in r]
    assert (steps, evaluations) == ([1, 2, 3, 4, 5, 6], [3, 6])
    assert {path.name for path in (finished.folder / "checkpoints").iterdir()} == {"2", "4", "6"}
    losses = [record["loss"] for record in metrics_of(finished.folder) if "loss" in record]
    assert losses[-1] < losses[0]
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["training"]["steps"] == 6
    assert "baseline shuffled" in (finished.folder / "report.md").read_text()


@pytest.mark.slow
def test_stopped_at_every_step(finished, tiny_config, tmp_path, signal_at):
    """Steps 3 and 6 are due an evaluation, which the signal leaves no time for."""
    for step in range(1, 7):
        number = signal.SIGINT if step % 2 else signal.SIGTERM
        signal_at(step, number)
        with pytest.raises(Stopped, match=f"stopped at step {step};") as stopped:
            finetune.run(tiny_config(), str(tmp_path))
        assert stopped.value.signal_number == number
        assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == step
    signal_at(0)
    finetune.run(tiny_config(), str(tmp_path))
    assert_same_run(tmp_path, finished.folder)


@pytest.mark.parametrize(
    "step", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(6, marks=pytest.mark.slow)]
)
def test_killed(finished, tiny_config, step):
    """Before step 2 there is no checkpoint; before step 3 there is one just written, or half of it."""
    folder = finished.before_step[step]
    assert not (folder / "report.json").exists()
    finetune.run(tiny_config(), str(folder))
    assert_same_run(folder, finished.folder)


def test_stopped_amid_an_evaluation(finished, tiny_config, tmp_path, monkeypatch):
    signals = [signal.SIGTERM]

    class Signaling(scoring.OwnRows):
        def read(self, batches, step):
            if signals:
                signal.raise_signal(signals.pop())
            return super().read(batches, step)

    monkeypatch.setattr(scoring, "OwnRows", Signaling)
    with pytest.raises(Stopped, match="step 3"):
        finetune.run(tiny_config(), str(tmp_path))
    assert not any("evaluation/loss" in record for record in metrics_of(tmp_path))

    # Made up for by the next run, which is killed before its next checkpoint ...
    killed = pathlib.Path(f"{tmp_path}_killed")
    write = resume.MetricsWriter.write

    def copying(self, step, metrics):
        if step == 4 and not killed.exists():
            shutil.copytree(tmp_path, killed)
        write(self, step, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(resume.MetricsWriter, "write", copying)
        finetune.run(tiny_config(), str(tmp_path))
    assert [r["step"] for r in metrics_of(killed) if "evaluation/loss" in r] == [3]
    assert_same_run(tmp_path, finished.folder)
    # ... and is not made up for twice.
    finetune.run(tiny_config(), str(killed))
    assert_same_run(killed, finished.folder)


def test_step_0_is_evaluated_once_and_changes_nothing(finished, tiny_config, tmp_path, monkeypatch):
    trackio = mock.MagicMock()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    config = tiny_config({"evaluation.at_start": "True", "logging.trackers": "('trackio',)"})
    finetune.run(config, str(tmp_path))
    first, *others = metrics_of(tmp_path)
    assert trackio.init.call_args.kwargs["config"]["task"] == "finetune"
    tracked = [call.kwargs["step"] for call in trackio.log.call_args_list]
    assert tracked == [record["step"] for record in [first, *others]]
    trackio.finish.assert_called_once_with()
    assert set(first) == {"step"} | {name for name in others[-1] if name.startswith("evaluation/")}
    assert first["step"] == 0 and first["evaluation/loss"] > others[-1]["evaluation/loss"]
    assert others == metrics_of(finished.folder)
    training = json.loads((tmp_path / "report.json").read_text())["training"]
    assert training["evaluation loss at step 0"] == first["evaluation/loss"]

    # Gone on with from step 4.
    shutil.rmtree(tmp_path / "checkpoints" / "6")
    begun = []

    def run_loop(*_, start, evaluation_owed):
        begun.append((start, evaluation_owed))
        raise KeyboardInterrupt

    monkeypatch.setattr(resume, "run_loop", run_loop)
    with pytest.raises(KeyboardInterrupt):
        finetune.run(config, str(tmp_path))
    assert begun == [(4, False)]
    assert metrics_of(tmp_path) == [first, *(record for record in others if record["step"] <= 4)]


def test_a_finished_run_is_only_scored_again(finished, tiny_config, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "again"
    shutil.copytree(finished.folder, folder)
    for name in ("report.json", "samples.jsonl"):
        (folder / name).unlink()
    metrics = (folder / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(resume, "run_loop", lambda *_, **__: pytest.fail("trains"))
    caplog.set_level("INFO", logger="t5x_lite")
    finetune.run(tiny_config(), str(folder))
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    assert_same_run(folder, finished.folder)
    assert f"{folder}: all 6 steps are done; it is scored again" in caplog.text


def test_a_callers_second_run_in_a_folder_is_refused(tiny_config, tmp_path, monkeypatch):
    """Also without the program around it: from a thread of the same notebook, say."""
    iterate, found = supervised.iterate, []

    def meanwhile(*arguments, **settings):
        def second():
            with pytest.raises(InputError, match="another run is there") as refused:
                finetune.run(tiny_config(), str(tmp_path))
            found.append(refused.value)

        monkeypatch.setattr(supervised, "iterate", iterate)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        yield from iterate(*arguments, **settings)

    monkeypatch.setattr(supervised, "iterate", meanwhile)
    finetune.run(tiny_config(), str(tmp_path))
    assert len(found) == 1 and not (tmp_path / "run.lock").exists()


@pytest.mark.slow
def test_another_seed_is_another_run(finished, tiny_config, tmp_path):
    finetune.run(tiny_config({"seed": "1"}), str(tmp_path))
    ours, theirs = metrics_of(tmp_path), metrics_of(finished.folder)
    assert all(a["loss"] != b["loss"] for a, b in zip(ours, theirs, strict=True) if "loss" in a)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of orbax's threads
def test_a_full_disk_keeps_the_earlier_checkpoints(finished, tiny_config, tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    save = Checkpoints.save

    def full_at_4(self, step, state, metadata):
        self.wait()
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
        save(self, step, state, metadata)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", full_at_4)
            with pytest.raises(
                InputError,
                match=r"step 4 could not be written .*earlier ones are kept \(of step 2\)",
            ):
                finetune.run(tiny_config(), str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "checkpoints" / "2").is_dir()
    finetune.run(tiny_config(), str(tmp_path))
    assert_same_run(tmp_path, finished.folder)


@pytest.mark.slow
def test_scanned_layers_and_another_mesh(tiny_config, tmp_path, signal_at):
    # Without dropout, whose random bits take most of the time to compile.
    scanned = {"model.scan_layers": "True", "model.architecture.dropout_rate": "0.0"}
    whole, stopped, moved = (tmp_path / name for name in ("whole", "stopped", "moved"))
    finetune.run(tiny_config(scanned), str(whole))
    signal_at(3)
    with pytest.raises(Stopped):
        finetune.run(tiny_config(scanned), str(stopped))
    signal_at(0)
    shutil.copytree(stopped, moved)
    finetune.run(tiny_config(scanned), str(stopped))
    assert_same_run(stopped, whole)

    other_mesh = {"mesh.data": "4", "mesh.fsdp": "2"}
    finetune.run(tiny_config(scanned | other_mesh), str(moved))
    for ours, theirs in zip(metrics_of(moved), metrics_of(whole), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    files = (load_file(folder / "model" / "model.safetensors") for folder in (moved, whole))
    for ours, theirs in zip(*(file.values() for file in files), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_other_examples_behind_the_same_config_are_refused(tiny_config, tmp_path, signal_at):
    rows = tmp_path / "rows.jsonl"
    lines = [f'{{"dialogue": "A: {i}?\\nB: {i}!", "summary": "A asks {i}."}}\n' for i in range(24)]
    rows.write_text("".join(lines))
    own = {"data.train.source": str(rows), "data.train.split": "", "data.train.id_column": ""}
    config = tiny_config(own | {"tokenizer.vocab_size": "50"})
    signal_at(1)
    with pytest.raises(Stopped):
        finetune.run(config, str(tmp_path / "run"))
    rows.write_text("".join(reversed(lines)))
    with pytest.raises(InputError, match="the training examples are not those"):
        finetune.run(config, str(tmp_path / "run"))


def test_a_mesh_that_changes_the_batches_is_refused(finished, tiny_config, tmp_path):
    """A budget of tokens is filled in multiples of the devices that share a batch."""
    budget = {"batch.size": "0", "batch.tokens": str(12 * 32)}
    folder = tmp_path / "run"
    shutil.copytree(finished.before_step[6], folder)
    config = tiny_config(budget | {"mesh.data": "4", "mesh.model": "2"})
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    with pytest.raises(
        InputError, match=r"batches of \(encoder, decoder, rows\) \[\[32, 16, 8\]\]"
    ):
        finetune.run(config, str(folder))
