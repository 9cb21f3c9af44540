"""Runs from Python: values as Python values, and what a run left as an object."""

import inspect
import subprocess
import sys

import datasets
import pandas
import pytest

import t5x_lite as t
from t5x_lite import console
from t5x_lite.config import load_config
from t5x_lite.data.sources import load_rows
from t5x_lite.decoding.settings import GenerationSettings

SHORT = {
    "train.steps": 2, "schedule.warmup_steps": 1, "evaluation.bootstrap_samples": 20, "data.template": "finetune"
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return t.train("quickstart.py:runlocal", SHORT, workdir=tmp_path_factory.mktemp("runs") / "a")


def test_a_run_is_what_it_left(run):
    assert run.metrics[-1]["step"] == 2
    assert run.report["training"]["steps"] == 2
    assert run.config["train"]["steps"] == 2
    assert len(run.samples) == 8
    assert isinstance(run.model.generate(["Hello"], max_new_tokens=2)[0], str)
    assert run.model is run.model
    assert t.open_run(run.workdir).metrics == run.metrics


def test_what_is_shown_tells(run):
    assert "task 'finetune', step 2, loss " in repr(run) and "reported" in repr(run)
    assert "37,216 parameters" in repr(run.model) and "1 + 1 layers of 32" in repr(run.model)
    assert "400 tokens" in repr(run.model.tokenizer)
    assert repr(GenerationSettings(num_beams=4)) == "GenerationSettings(num_beams=4)"
    assert "finetune: bundled" in repr(run.report)
    page = run.report._repr_html_()
    assert page.startswith("<iframe srcdoc=") and "finetune: bundled&lt;/bdi&gt;&lt;/h1&gt;" in page


def test_a_run_asks_its_model_as_it_was_trained(run, tmp_path):
    text = "Summarize the following conversation.\n\nA: Hi.\n\nSummary: "
    assert t.open_run(run.workdir).prompts([{"dialogue": "A: Hi."}]) == [text]
    assert run.report["data"]["encoder's text"] == text.replace("A: Hi.", "{dialogue}")
    with pytest.raises(t.InputError, match="unknown field {dialogue}; the rows have talk"):
        run.prompts([{"talk": "A: Hi."}])
    (tmp_path / "config.json").write_text('{"task": "compare"}')
    with pytest.raises(t.InputError, match="'compare' has no data.template"):
        t.open_run(tmp_path).prompts([{}])


def test_help_shows_what_train_takes_and_a_tpu_is_not_looked_for_in_vain(monkeypatch):
    looked: list[int] = []
    monkeypatch.setattr(console, "look_for_no_tpu_in_vain", lambda: looked.append(1))
    assert list(inspect.signature(t.train).parameters) == ["config", "overrides", "workdir"]
    assert looked
    looked.clear()
    with pytest.raises(t.InputError):
        t.train("nope.py", workdir="none")
    assert looked


def test_values_are_python_values():
    config = load_config(
        "quickstart.py",
        {"train.steps": 7, "schedule.learning_rate": 1, "optimizer.no_weight_decay": [".*/scale"],
         "generation": {"num_beams": 2}, "mesh": "fsdp", "data.train.split": "1"},
        as_values=True,
    )  # fmt: skip
    assert config.train.steps == 7 and config.schedule.learning_rate == 1.0
    assert config.optimizer.no_weight_decay == (".*/scale",)
    assert config.generation == {"num_beams": 2} or config.generation.num_beams == 2
    assert config.mesh.fsdp == -1 and config.data.train.split == "1"


@pytest.mark.parametrize(
    "call, config, overrides, told",
    [
        (t.train, "quickstart.py", {"train.steps": "7"}, "config.train.steps must be a whole"),
        (t.train, "quickstart.py", {"train.stepz": 7}, "config.train.stepz: there is no such"),
        (t.train, "quickstart.py", {"config.train.steps": 7}, "leave 'config.' out; 'train.steps'"),
        (t.train, "lab3_ppo.py", {}, "its task is 'ppo', .* call t5x_lite.ppo"),
        (t.ppo, "lora.py", {}, "its task is 'finetune', .* call t5x_lite.train"),
        (t.evaluate, "compare.py:runlocal", {}, "its task is 'compare', .* call t5x_lite.run"),
        (t.prompt, "nope.py", {}, "there is no file nope.py"),
    ],
)
def test_bad_input_is_an_input_error(tmp_path, call, config, overrides, told):
    with pytest.raises(t.InputError, match=told):
        call(config, overrides, workdir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(t.InputError, match="not the workdir of a run"):
        t.open_run(tmp_path)


def test_any_task_runs(tmp_path):
    run = t.run("compare.py:runlocal", {"evaluation.bootstrap_samples": 20}, workdir=tmp_path / "c")
    assert run.metrics == [] and "systems" in run.report
    assert "task 'compare', reported" in repr(run)


def test_the_public_names_are_listed_and_late():
    code = (
        "import sys, t5x_lite as t; assert set(t.__all__) <= set(dir(t)); assert 'jax' not in sys.modules\n"
        "import t5x_lite.train.step; assert callable(t.train) and t.train.step\n"
        "assert all(getattr(t, name) is not None for name in t.__all__)\n"
        "try: t.nothing\nexcept AttributeError: pass\nelse: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


OUTSIDE = """\
import t5x_lite as t

run: t.Run = t.train("lora.py", {"train.steps": 20}, workdir="runs/lora")
texts: list[str] = run.model.generate(["a"], num_beams=4)
losses: list[float] = [record["loss"] for record in run.metrics]
title: str = run.report["title"]
model: t.Pretrained = t.load_pretrained("nano")
settings: t.GenerationSettings = model.settings
error: type[ValueError] = t.InputError
wrong: int = model.generate(["a"])
"""


@pytest.mark.slow
def test_a_type_checker_accepts_it_from_outside(tmp_path):
    (tmp_path / "outside.py").write_text(OUTSIDE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "outside.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1 and "outside.py:10:" in errors[0], done.stdout


ROWS = [
    {"id": n, "dialogue": f"#Person1#: It is {n}.", "summary": f"It is {n}.", "seen": None}
    for n in (7, 8)
]
GIVEN = {
    "list": ROWS,
    "DataFrame": pandas.DataFrame(ROWS),
    "datasets": datasets.Dataset.from_list(ROWS),
    "generator": (row for row in ROWS),
}


@pytest.mark.parametrize("rows", GIVEN.values(), ids=GIVEN)
def test_rows_in_memory_are_a_file_of_the_run(rows, tmp_path, monkeypatch):
    configs = []
    monkeypatch.setattr("t5x_lite.tasks.finetune.run.run", lambda config, _: configs.append(config))
    t.train("finetune.py:runlocal", {"data.train.source": rows}, workdir=tmp_path / "a")
    section = configs[0].data.train
    assert section.source == str(tmp_path / "a" / "rows" / "data.train.jsonl")
    found = load_rows(
        section.source, "train", {"of": "dialogue"}, id_column="id", exclude="", limit=0
    )
    assert found == [
        {"of": "#Person1#: It is 7.", "id": "7"},
        {"of": "#Person1#: It is 8.", "id": "8"},
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "data.train.source: no rows"),
        ([["a", "b"]], "row 0 is a list; expected a list of mappings, a pandas DataFrame or"),
        (datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)), "a DatasetDict of train; give one"),
        ([{"dialogue": object()}], "row 0, dialogue: column 'value' holds a object; expected text"),
    ],
    ids=["none", "tuples", "all splits", "no text"],
)  # fmt: skip
def test_what_are_no_rows(rows, message, tmp_path):
    with pytest.raises(t.InputError, match=message):
        t.train("finetune.py:runlocal", {"data.train.source": rows}, workdir=tmp_path / "a")


def test_other_rows_are_refused_where_some_are(tmp_path, monkeypatch):
    monkeypatch.setattr("t5x_lite.tasks.finetune.run.run", lambda *_: None)
    for _ in range(2):  # the same ones go on
        t.train("finetune.py:runlocal", {"data.train.source": ROWS}, workdir=tmp_path)
    with pytest.raises(
        t.InputError, match="data.train.jsonl holds other rows, those of an earlier"
    ):
        t.train("finetune.py:runlocal", {"data.train.source": ROWS[:1]}, workdir=tmp_path)
