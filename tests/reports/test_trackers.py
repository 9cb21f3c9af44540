"""Services beside metrics.jsonl: begun with the config, gone on with by their id, and never the end of a run."""

import json
import sys
import types

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.reports.trackers import start_trackers
from t5x_lite.sections import to_dict


class Service(types.ModuleType):
    """Stands for either package: what it is called with, by the names of both. fails: the call that raises."""

    def __init__(self, fails=""):
        super().__init__("service")
        self.calls, self.fails = [], fails

    def _note(self, name, /, *values, **named):
        self.calls.append((name, *values, named))
        if name == self.fails:
            raise ConnectionError("no route to host\nmore")
        return self

    def init(self, **named):
        return self._note("init", **named)

    def define_metric(self, name, /, **named):
        self._note("define_metric", name, **named)

    def log(self, values, **named):
        self._note("log", values, **named)

    def finish(self, **named):
        self._note("finish", **named)


@pytest.fixture
def services(monkeypatch):
    found = {"wandb": Service(), "trackio": Service()}
    for name, service in found.items():
        monkeypatch.setitem(sys.modules, name, service)
        monkeypatch.delenv(f"{name.upper()}_PROJECT", raising=False)
    return found


def run(folder, start=0, error=None):
    with MetricsWriter(folder, start_step=start, tensorboard=False) as writer:
        writer.trackers = start_trackers(("wandb", "trackio"), folder, {"seed": 1})
        writer.write(start + 1, {"loss": 2})
        if error:
            raise error


def test_each_service_gets_the_config_the_metrics_and_the_end(tmp_path, services):
    folder = tmp_path / "my run#1"
    run(folder)
    wandb, trackio = services["wandb"].calls, services["trackio"].calls
    id_ = json.loads((folder / "trackers.json").read_text())["wandb"]
    assert id_.startswith("my-run-1-")
    assert wandb == [
        ("init", {
            "project": "t5x-lite", "id": id_, "name": "my run#1", "config": {"seed": 1}, "dir": str(folder),
            "resume": "allow", "reinit": "create_new",
        }),
        ("define_metric", "*", {"step_metric": "step"}),
        ("log", {"loss": 2, "step": 1}, {}),
        ("finish", {"exit_code": 0}),
    ]  # fmt: skip
    assert [name for name, *_ in trackio] == ["init", "log", "finish"]
    begun = trackio[0][1]
    assert begun["name"].startswith("my-run-1-") and begun["resume"] == "allow"
    assert trackio[1:] == [("log", {"loss": 2}, {"step": 1}), ("finish", {})]


def test_a_run_that_goes_on_is_the_same_run(tmp_path, services, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, error=KeyboardInterrupt())
    assert services["wandb"].calls[-1] == ("finish", {"exit_code": 1})
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    run(tmp_path, start=1)
    begun = [call[-1] for call in services["wandb"].calls if call[0] == "init"]
    assert begun[0]["id"] == begun[1]["id"] and begun[1]["project"] == "mine"
    begun = [call[-1] for call in services["trackio"].calls if call[0] == "init"]
    assert begun[0]["name"] == begun[1]["name"]


def test_a_remote_run_keeps_its_ids_there(bucket, services):
    for start in (0, 1):
        run(f"{bucket}/run", start)
    first, second = (call[-1] for call in services["wandb"].calls if call[0] == "init")
    assert first["id"] == second["id"] and first["name"] == "run" and first["dir"] is None


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_what_fails_is_told_of_once_and_ends_no_run(tmp_path, services, fails, caplog):
    services["wandb"].fails = fails
    with MetricsWriter(tmp_path, start_step=0, tensorboard=False) as writer:
        writer.trackers = start_trackers(("wandb", "trackio"), tmp_path, {})
        for step in (1, 2, 3):
            writer.write(step, {"loss": 2.0})
    assert len(read_metrics(tmp_path)) == 3
    assert [name for name, *_ in services["trackio"].calls].count("log") == 3
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        "wandb: the run goes on without it (no route to host); metrics.jsonl has everything"
    )


def test_a_service_that_is_not_installed_is_told_of_with_the_config(monkeypatch, tmp_path):
    flags = {"logging.trackers": "('wandb',)"}
    (tmp_path / "wandb").mkdir()  # as W&B leaves it where a run was
    monkeypatch.syspath_prepend(str(tmp_path))
    for there in (lambda: monkeypatch.setitem(sys.modules, "wandb", None), monkeypatch.undo):
        there()
        with pytest.raises(
            InputError, match=r"trackers: wandb is not installed: pip install 't5x-lite\[wandb\]'"
        ):
            load_config("finetune.py:runlocal", flags)
    with pytest.raises(InputError, match="must be a tuple of 'wandb' and 'trackio', or"):
        load_config("finetune.py:runlocal", {"logging.trackers": "('mlflow',)"})
    monkeypatch.setitem(sys.modules, "wandb", Service())
    assert to_dict(load_config("finetune.py:runlocal", flags))["logging"]["trackers"] == ("wandb",)
