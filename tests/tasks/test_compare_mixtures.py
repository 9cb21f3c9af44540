"""The task `compare` on runs of mixtures: every task before and after, full against LoRA."""

import json

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.compare import run as compare

REFERENCES = {
    "new": ["the red bag on a chair", "a lake by train", "cold since Monday"],
    "old": ["they meet at noon", "she sells the car", "he is late"],
}
BEFORE = {
    "new": ["the", "train", ""],
    "old": ["they meet at noon", "she sells the car", "he is"],
}
FULL = {
    "new": ["the red bag on a chair", "a lake", "cold since Monday"],
    "old": ["red bag", "a car", "late"],
}
LORA = {
    "new": ["the red bag", "a lake by train", "cold"],
    "old": ["they meet at noon", "she sells a car", "he is late"],
}


def write_run(folder, after, before=BEFORE, trained=("new",)):
    folder.mkdir()
    tasks = {name: {"rate": 1.0 if name in trained else 0.0} for name in after}
    (folder / "config.json").write_text(json.dumps({"data": {"tasks": tasks}}))
    for place, texts in (("outputs", after), ("outputs_before", before)):
        if texts is None:
            continue
        (folder / place).mkdir()
        for task, outputs in texts.items():
            lines = [
                {"id": f"{task}_{i}", "input": f"dialogue {i}", "reference": wanted, "output": text}
                for i, (wanted, text) in enumerate(zip(REFERENCES[task], outputs, strict=True))
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / place / f"{task}.jsonl").write_text(text)
    return folder


def run(tmp_path, argument):
    config = load_config(f"compare.py:{argument}", {"evaluation.bootstrap_samples": "100"})
    compare.run(config, str(tmp_path / "out"))
    return json.loads((tmp_path / "out" / "report.json").read_text())


def mean(task, outputs, kind):
    scorer = RougeScorer([kind], use_stemmer=True)
    pairs = zip(REFERENCES[task], outputs[task], strict=True)
    return 100 * float(np.mean([scorer.score(*pair)[kind].fmeasure for pair in pairs]))


def test_every_task_before_and_after_full_against_lora(tmp_path, caplog):
    full, lora = write_run(tmp_path / "full", FULL), write_run(tmp_path / "lora", LORA)
    report = run(tmp_path, f"full={full},lora={lora}")
    lines = {(line["task"], line["system"]): line for line in report["summary"]}
    assert list(lines) == [
        (task, system) for task in ("new", "old") for system in ("before", "full", "lora")
    ]
    for task in ("new", "old"):
        assert {lines[task, name]["trained on"] for name in ("before", "full", "lora")} == {
            "yes" if task == "new" else "no"
        }
        for name, outputs in (("before", BEFORE), ("full", FULL), ("lora", LORA)):
            for kind, title in (
                ("rouge1", "ROUGE-1"),
                ("rouge2", "ROUGE-2"),
                ("rougeL", "ROUGE-L"),
            ):
                found, begun = mean(task, outputs, kind), mean(task, BEFORE, kind)
                assert lines[task, name][title].startswith(f"{found:.1f} (")
                if name != "before":
                    change = lines[task, name][f"{title} difference"]
                    assert change.startswith(f"{found - begun:+.1f}")
    assert "✗" in lines["old", "full"]["ROUGE-1 difference"]  # forgotten
    assert "✓" in lines["new", "full"]["ROUGE-1 difference"]
    differences = {(line["task"], line["difference"]): line for line in report["differences"]}
    expected = mean("old", LORA, "rouge1") - mean("old", FULL, "rouge1")
    assert differences["old", "lora minus full"]["ROUGE-1"].startswith(f"{expected:+.2f}")
    assert report["samples"][0]["before"] == "the" and report["samples"][0]["task"] == "new"


def test_a_run_from_random_weights_has_no_before_and_tasks_of_one_run_are_left_out(
    tmp_path, caplog
):
    full = write_run(tmp_path / "full", FULL, before=None)
    lora = write_run(tmp_path / "lora", {"new": LORA["new"]}, before=None, trained=())
    report = run(tmp_path, f"full={full},lora={lora}")
    assert [line["system"] for line in report["summary"]] == ["full", "lora"]
    assert report["summary"][0]["trained on"] == "full"
    assert "full: not in every run and left out: old" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: {"before": {**BEFORE, "old": ["a", "b", "c"]}}, "must begin from one model"),
        (lambda folder: {"after": {"other": FULL["new"]}, "before": None}, "no task was scored by all"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(tmp_path, change, message, monkeypatch):
    monkeypatch.setitem(REFERENCES, "other", REFERENCES["new"])
    full = write_run(tmp_path / "full", FULL)
    lora = write_run(tmp_path / "lora", **{"after": LORA, **change(tmp_path)})
    with pytest.raises(InputError, match=message):
        run(tmp_path, f"full={full},lora={lora}")


def test_names_and_kinds_of_runs(tmp_path):
    full, lora = write_run(tmp_path / "full", FULL), write_run(tmp_path / "lora", LORA)
    with pytest.raises(InputError, match="two systems are called 'before'"):
        run(tmp_path, f"before={full},lora={lora}")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "samples.jsonl").write_text("")
    with pytest.raises(InputError, match="full trained on a mixture of tasks, the others did not"):
        run(tmp_path, f"full={full},{alone}")
