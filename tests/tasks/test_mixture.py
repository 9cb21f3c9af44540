"""The mixture task from configs/nano.py: runs to its report, measures forgetting, refuses bad input at once."""

import json

import numpy as np
import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks import mixture
from t5x_lite.tasks.mixture_data import (
    all_texts,
    check_tasks,
    evaluation_splits,
    make_mixture,
    read_tasks,
)

TINY = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
    "model.architecture.vocab_size": "640",
    "tokenizer.vocab_size": "512",
    "data.encoder_length": "64",
    "data.decoder_length": "16",
    "data.truncation": "end",
    "data.denoising.encoder_length": "32",
    "batch.buckets": "1",
    "batch.size": "8",
    "batch.tokens": "0",
    "train.steps": "4",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "2",
    "evaluation.task": "summarize",
    "data.denoising.task": "summarize",
    "evaluation.batch_tokens": "1024",
    "evaluation.bootstrap_samples": "20",
    "checkpoint.every_steps": "2",
    "generation.max_new_tokens": "4",
    "logging.tensorboard": "False",
}
WITHOUT_SHOTS = (
    "alone",
    "summarize_in_detail",
    "one_shot",
    "one_brief_shot",
    "three_shots",
    "three_brief_shots",
)


def tiny_config(overrides=None, drop=WITHOUT_SHOTS):
    config = load_config("nano.py:runlocal", TINY | (overrides or {}))
    with config.unlocked():
        for name in drop:
            del config.data.tasks[name]
        config.data.tasks.summarize.templates = ("dialogue", "flan_0")
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    mixture.run(tiny_config(), str(folder))
    return folder


def test_report_has_every_task(finished):
    report = json.loads((finished / "report.json").read_text())
    assert [row["task"] for row in report["summary"]] == ["question", "summarize", "topic"]
    assert set(report["scores"]) == {"question", "summarize", "topic"}
    shares = {row["source"]: row["share of the examples"] for row in report["mixture"]}
    assert sum(shares.values()) == pytest.approx(1)
    # Two templates share a task's rate, three another's; denoising has its own.
    total = 0.15 + 0.06 + 0.12 + 0.24
    assert shares["summarize 0"] == pytest.approx(0.075 / total, rel=0.05)
    assert shares["topic 2"] == pytest.approx(0.06 / 3 / total, rel=0.1)
    assert shares["denoising"] == pytest.approx(0.24 / total, rel=0.05)
    for name in ("question", "summarize", "topic"):
        lines = (finished / "outputs" / f"{name}.jsonl").read_text().splitlines()
        assert len(lines) == 4 and "exact" in json.loads(lines[0])["scores"]


def test_before_and_after_and_a_task_that_is_only_scored(finished, tmp_path):
    overrides = {
        "model.source": str(finished / "model"),
        "tokenizer.source": "model",
        "data.tasks.topic.rate": "0",
        "data.denoising.rate": "0",
    }
    mixture.run(tiny_config(overrides), str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    rows = {row["task"]: row for row in report["summary"]}
    assert rows["topic"]["trained on"] == "no" and rows["summarize"]["trained on"] == "yes"
    assert not any(row["source"].startswith("topic") for row in report["mixture"])
    assert all("rouge1 change" in row for row in rows.values())
    before = (tmp_path / "outputs_before" / "topic.jsonl").read_text()
    assert before == (finished / "outputs" / "topic.jsonl").read_text()  # the model it began from


def test_a_finished_run_is_scored_again(finished):
    before = (finished / "report.json").read_text()
    mixture.run(tiny_config(), str(finished))
    again = json.loads((finished / "report.json").read_text())
    assert again["scores"] == json.loads(before)["scores"]


class Characters:
    """Tokens that read back exactly."""

    eos_id, pad_id, sentinel_ids = 1, 0, list(range(9_000, 9_064))

    def encode(self, texts, add_eos):
        return [[ord(c) + 2 for c in text] + [1] * add_eos for text in texts]


def text(tokens: np.ndarray) -> str:
    return "".join(chr(token - 2) for token in tokens[:-1])


def test_examples_hold_their_templates_and_shots():
    config = tiny_config(
        {"data.encoder_length": "2000", "data.decoder_length": "200"}, drop=("question", "topic")
    )
    tasks = read_tasks(config.data)

    with config.unlocked():
        config.data.update(encoder_length=6000, decoder_length=1000)
    made = make_mixture(config.data, tasks, Characters(), seed=0)

    seen = dict.fromkeys(made.names)
    for index in range(len(made)):
        seen[made.name_of(index)] = [text(part) for part in made.example(index, 0)]
    row = {r["dialogue"]: r for r in tasks["summarize"].train}
    asked, answer = seen["summarize 1"]
    dialogue = asked.removesuffix("\n\nBriefly summarize that dialogue.")
    assert answer == row[dialogue]["brief"]
    asked, answer = seen["three_shots"]
    *shots, question = asked.split("\n\n\n")
    assert len(shots) == 3
    dialogue = question.removeprefix("\nDialogue:\n\n").removesuffix("\n\nWhat was going on?\n")
    assert answer == row[dialogue]["summary"]
    for shot in shots:
        shown, _, summary = shot.partition("\n\nWhat was going on?\n")
        assert row[shown.removeprefix("\nDialogue:\n\n")]["summary"] == summary
    split = evaluation_splits(config.data, tasks, Characters(), seed=0)["three_shots"]
    for index, evaluated in enumerate(split.rows):
        *shots, question = text(split.examples.example(index, 0)[0]).split("\n\n\n")
        assert len(shots) == 3 and evaluated["dialogue"] in question
        for shot in shots:
            shown = shot.partition("\n\nWhat was going on?\n")[0].removeprefix("\nDialogue:\n\n")
            assert shown in row  # a training row: the evaluated split gives no answers away


def test_rates_by_size():
    config = tiny_config({f"data.tasks.{name}.rate": "size" for name in ("question", "summarize", "topic")}
                         | {"data.denoising.rate": "0", "data.tasks.topic.train.limit": "8"})  # fmt: skip
    check_tasks(config.data)
    with config.unlocked():
        config.data.update(encoder_length=6000, decoder_length=1000)
    made = make_mixture(config.data, read_tasks(config.data), Characters(), seed=0)
    shares = {name: shown / len(made) for name, shown in made.shown.items()}
    assert shares["topic 0"] == pytest.approx(8 / 72 / 3, rel=0.1)  # of 32 + 32 + 8 rows
    assert shares["summarize 0"] == pytest.approx(32 / 72 / 2, rel=0.1)


def test_the_tokenizer_sees_instructions_and_every_field():
    config = tiny_config()
    texts = all_texts(config.data, read_tasks(config.data))
    assert sum("Briefly summarize that dialogue." in text for text in texts) >= 100
    assert any(text == "#Person2#" for text in texts)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({f"data.tasks.{t}.rate": "0" for t in ("question", "summarize", "topic")}
         | {"data.denoising.rate": "0"}, "every rate is 0"),
        ({"data.tasks.topic.rate": "size"}, "data.tasks.topic.rate is 'size', others are numbers"),
        ({"data.tasks.topic.templates": "()"}, "data.tasks.topic.templates: give at least one"),
        ({"data.tasks.topic.target": "{title}"}, "has a field 'title'"),
        ({"data.denoising.task": "sumarize"}, "there is no task 'sumarize'"),
        ({"data.denoising.field": "text"}, "data.tasks.summarize.train.columns has no 'text'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_input(overrides, message):
    with pytest.raises(InputError, match=message):
        check_tasks(tiny_config(overrides).data)


def test_a_field_of_one_task_is_checked_by_name():
    with pytest.raises(InputError, match=r"--config.data.tasks.topic.rat: there is no such field"):
        load_config("nano.py:runlocal", {"data.tasks.topic.rat": "1"})
