"""Runs from Python: what the command line starts, with Python values, and what a run left as an object.

>>> run = train("quickstart.py:lora", {"train.steps": 20}, workdir="runs/try")       # doctest: +SKIP
>>> run.metrics[-1]["loss"], run.model.generate(["..."]), run.report                 # doctest: +SKIP
"""

from __future__ import annotations

import functools
import html
import importlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from t5x_lite import console
from t5x_lite.api import Pretrained, load_pretrained
from t5x_lite.config import load_config
from t5x_lite.data.given_rows import given_rows, place_of, write_rows
from t5x_lite.data.named_rows import check_files
from t5x_lite.data.templates import render
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.wiring.lock import locked
from t5x_lite.wiring.trained_template import template_text
from t5x_lite.wiring.workdir import CONFIG_FILE, check_workdir

Overrides = Mapping[str, Any]
Folder = str | os.PathLike[str]

_TRAINED = ("finetune", "mixture", "pretrain", "classifier", "reward", "dpo", "architectures")
_HEIGHT = 640  # pixels of a report in a notebook


def train(config: str, overrides: Overrides | None = None, *, workdir: Folder) -> Run:
    """Trains by a recipe, as `t5x-lite --config CONFIG --workdir WORKDIR` does; a run that is there goes on.

    Args:
      config: the name or path of a config, with words: "lora.py", "quickstart.py:lora".
      overrides: dotted field -> Python value: {"train.steps": 20, "data.train.source": "train.csv"}. A mapping is the
        whole of its section. A source may be rows: a list of mappings, a DataFrame, a split of `datasets`.
      workdir: the run's folder.

    Raises:
      InputError: bad input, as on the command line; also a config that trains nothing.
      Stopped: Ctrl-C or SIGTERM; the same call goes on from there.
      Diverged: the numbers were no longer finite.
    """
    return _run(config, overrides, workdir, "train", _TRAINED)


def evaluate(config: str, overrides: Overrides | None = None, *, workdir: Folder) -> Run:
    """Scores a model as it is ("evaluate.py"). Args and errors: as `train`."""
    return _run(config, overrides, workdir, "evaluate", ("evaluate",))


def prompt(config: str, overrides: Overrides | None = None, *, workdir: Folder) -> Run:
    """Compares prompts over a whole split ("lab1_prompting.py"). Args and errors: as `train`."""
    return _run(config, overrides, workdir, "prompt", ("prompt",))


def ppo(config: str, overrides: Overrides | None = None, *, workdir: Folder) -> Run:
    """Tunes a model against rewards by PPO ("lab3_ppo.py"). Args and errors: as `train`, and RewardFailed."""
    return _run(config, overrides, workdir, "ppo", ("ppo",))


def run(config: str, overrides: Overrides | None = None, *, workdir: Folder) -> Run:
    """Runs a config of any task. Args and errors: as `train`."""
    return _run(config, overrides, workdir, "run", ())


def open_run(workdir: Folder) -> Run:
    """A run that is there.

    Raises:
      InputError: the folder holds none.
    """
    file = pathlib.Path(workdir).expanduser() / CONFIG_FILE
    if not file.is_file():
        raise InputError(f"{workdir}: there is no {CONFIG_FILE}, so it is not the workdir of a run")
    return Run(file.parent)


class Report(dict[str, Any]):
    """report.json as a dict; a notebook shows report.html."""

    def __init__(self, folder: pathlib.Path):
        super().__init__(read_object(folder / "report.json", "a report"))
        self._page = folder / "report.html"

    def __repr__(self) -> str:
        return (
            f"Report({self.get('title', '')!r}: {', '.join(key for key in self if key != 'title')})"
        )

    def _repr_html_(self) -> str:
        page = html.escape(self._page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{_HEIGHT}" style="border:0"></iframe>'


class Run:
    """What a run left in its workdir. Nothing is read before it is asked for."""

    def __init__(self, workdir: Folder):
        self.workdir = pathlib.Path(workdir)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """config.json: the whole config."""
        return read_object(self.workdir / CONFIG_FILE, "the config of a run")

    @functools.cached_property
    def model(self) -> Pretrained:
        """The model, with the adapter acting where one was trained.

        Raises:
          InputError: the run left none, or one of another kind (a classifier).
        """
        return load_pretrained(self.workdir)

    def prompts(self, rows: Sequence[Mapping[str, str]]) -> list[str]:
        """What the model was trained to read of each row: `run.model.generate(run.prompts(rows))`.

        Args:
          rows: the fields of the config's `data.template`: [{"dialogue": "..."}]. A text that is too long for
            `data.encoder_length` is not cut.

        Raises:
          InputError: a row lacks a field, or the run has no template, or several.
        """
        template = template_text(self.config)
        if not template:
            raise InputError(
                f"{self.workdir}: its task {self.config.get('task')!r} has no data.template"
            )
        return [render(template, row) for row in rows]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """metrics.jsonl: a dict a logged step, with "step"."""
        return [dict(record) for record in read_metrics(self.workdir)]

    @property
    def report(self) -> Report:
        """report.json as a dict; as the last value of a notebook's cell it is the page.

        Raises:
          InputError: the run has not come to its report.
        """
        return Report(self.workdir)

    @property
    def samples(self) -> list[dict[str, Any]]:
        """samples.jsonl: what the model wrote for each evaluated row; empty where the task writes none."""
        file = self.workdir / "samples.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [json.loads(line) for line in lines]

    def __repr__(self) -> str:
        told = [f"task {self.config.get('task')!r}"]
        if steps := [record for record in self.metrics if "loss" in record]:
            told.append(f"step {steps[-1]['step']:,}, loss {steps[-1]['loss']:.4g}")
        elif self.metrics:
            told.append(f"step {self.metrics[-1]['step']:,}")
        told.append("reported" if (self.workdir / "report.json").is_file() else "not finished")
        return f"Run({str(self.workdir)!r}: {', '.join(told)})"


def _run(
    config: str, overrides: Overrides | None, workdir: Folder, name: str, tasks: tuple[str, ...]
) -> Run:
    if not console.log.handlers:
        console.setup()
    for field in overrides or {}:
        if field.startswith("config."):
            raise InputError(f"{field}: leave 'config.' out; {field.removeprefix('config.')!r}")
    folder = os.path.expanduser(os.fspath(workdir))
    given = given_rows(overrides or {})
    places = {field: place_of(folder, field) for field in given}
    loaded = load_config(config, {**(overrides or {}), **places}, as_values=True)
    if tasks and loaded.task not in tasks:
        others = {
            **dict.fromkeys(_TRAINED, "train"),
            **{n: n for n in ("evaluate", "prompt", "ppo")},
        }
        raise InputError(
            f"{config}: its task is {loaded.task!r}, which t5x_lite.{name} does not run; call"
            f" t5x_lite.{others.get(loaded.task, 'run')}({config!r}, ...)"
        )
    if given:
        check_workdir(folder, loaded)  # nothing is written into another run's
        for field, rows in given.items():
            write_rows(rows, field, places[field])
    check_files(loaded)
    task = importlib.import_module(f"t5x_lite.tasks.{loaded.task}.run")
    with locked(folder):
        check_workdir(folder, loaded)
        task.run(loaded, folder)
    return Run(folder)
