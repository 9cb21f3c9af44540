"""configs/lab2_forgetting.py: one model learns another task, fully and with LoRA, and both runs stand side by side."""

import json

import pytest

from t5x_lite.config import load_config
from t5x_lite.params.sections import Lora, NoAdapter
from t5x_lite.tasks.compare import run as compare
from t5x_lite.tasks.mixture import run as mixture

FILE = "lab2_forgetting.py"


def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def runs(finished, tiny, roughened, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forgetting")
    wanted = ("evaluation.", "checkpoint.", "generation.", "logging.")
    changes = {field: text for field, text in tiny.items() if field.startswith(wanted)} | {
        "model.source": str(roughened(finished.folder / "model")),
        "tokenizer.source": "model",
        "data.encoder_length": "32",
        "train.steps": "3",
        "schedule.warmup_steps": "0",
        "schedule.learning_rate": "0.05",
    }
    for name, argument in (("full", "runlocal"), ("lora", "runlocal,lora")):
        mixture.run(load_config(f"{FILE}:{argument}", changes), str(folder / name))
    return folder


@pytest.mark.slow
def test_one_task_is_trained_and_both_are_scored_before_and_after(runs):
    of_lora, of_full = report(runs / "lora"), report(runs / "full")
    for found in (of_lora, of_full):
        lines = {line["task"]: line for line in found["summary"]}
        assert {name: line["trained on"] for name, line in lines.items()} == {
            "doctor_notes": "yes",
            "summaries": "no",
        }
        assert all("rouge1 change" in line for line in lines.values())
        assert [line["source"] for line in found["mixture"]] == ["doctor_notes"]
    assert of_full["training"]["steps"] == of_lora["training"]["steps"]
    assert of_lora["adapter_check"]["frozen weights unchanged"]
    assert of_full["trained"]["trainable percent"] == 100
    assert of_lora["trained"]["trainable percent"] < 10
    # Neither moments nor gradients of frozen weights: the LoRA step needs less memory.
    memory = {name: report(runs / name)["memory of a step"][0] for name in ("full", "lora")}
    for part in ("state and batch", "temporaries", "all at once"):
        assert memory["lora"][part] < memory["full"][part]


def test_both_runs_side_by_side(runs, tmp_path):
    both = ",".join(f"{name}={runs / name}" for name in ("full", "lora"))
    compare.run(load_config(f"compare.py:{both}", {}), str(tmp_path))
    found = report(tmp_path)
    assert [(line["task"], line["system"]) for line in found["summary"]] == [
        (task, system)
        for task in ("doctor_notes", "summaries")
        for system in ("before", "full", "lora")
    ]
    before = {line["task"]: line for line in found["summary"] if line["system"] == "before"}
    for line in report(runs / "full")["summary"]:
        after = next(
            other for other in found["summary"] if (other["task"], other["system"]) == (line["task"], "full")
        )  # fmt: skip
        assert after["ROUGE-1"].split()[0] == line["rouge1"].split()[0]
        assert line["rouge1 change"].split()[0] == after["ROUGE-1 difference"].split()[0]
        assert before[line["task"]]["ROUGE-1 difference"] is None


def test_arguments(tmp_path):
    config = load_config(f"{FILE}:{tmp_path},lora", {})
    assert config.data.tasks["doctor_notes"].train.source.startswith(str(tmp_path))
    assert isinstance(config.adapter, Lora) and config.data.tasks["summaries"].rate == 0
    full = load_config(f"{FILE}:{tmp_path}", {})
    assert isinstance(full.adapter, NoAdapter) and full.train.steps == config.train.steps
    with pytest.raises(ValueError, match="unknown argument 'b'"):
        load_config(f"{FILE}:a,b", {})
