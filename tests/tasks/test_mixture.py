"""The mixture task from configs/nano.py: runs to its report, measures forgetting, refuses bad input at once."""

import dataclasses
import json

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config, load_values, read_config
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.params.paths import flatten
from t5x_lite.tasks.mixture import run as mixture
from t5x_lite.tasks.mixture.data import (
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
    values = load_values("nano.py:runlocal", TINY | (overrides or {}))
    with values.unlocked():
        for name in drop:
            del values.data.tasks[name]
        values.data.tasks.summarize.templates = ("dialogue", "flan_0")
    return read_config(values)


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def begun(finished, roughened):
    """A model to begin from, with its tokenizer."""
    return roughened(finished / "model")


ADAPTERS = {
    "lora": {
        "adapter": "{'method': 'lora', 'targets': (('.*/(query|value)', 2),), 'alpha': 4.0, 'dropout': 0.0,"
        " 'rslora': False, 'dora': False}",
        "train.trainable": "adapters",
    },
    "soft_prompt": {
        "adapter": "{'method': 'soft_prompt', 'length': 3, 'init_from': 'normal'}",
        "train.trainable": "adapters",
    },
    "decoder": {"train.trainable": "decoder"},
}


def adapted(begun, kind):
    return tiny_config(
        ADAPTERS[kind]
        | {
            "model.source": str(begun),
            "tokenizer.source": "model",
            "data.tasks.topic.rate": "0",
            "data.denoising.rate": "0",
            "optimizer.rate_multipliers": "()",
            "schedule.learning_rate": "0.3",
            "generation.max_new_tokens": "8",
        }
    )


def outputs(folder):
    """{task: what was written for its rows}."""
    return {
        file.stem: [json.loads(line)["output"] for line in file.read_text().splitlines()]
        for file in folder.iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    sorted(ADAPTERS),
)
def test_an_adapter_or_a_part_is_trained_on_every_task(begun, tmp_path, kind):
    mixture.run(adapted(begun, kind), str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    base, t5 = load_pretrained(begun), load_pretrained(tmp_path)
    flat, trained = flatten(base.params), flatten(t5.params)
    moved = {path for path in flat if not np.array_equal(flat[path], trained[path])}
    if kind == "decoder":
        assert moved == {path for path in flat if path.startswith("decoder/")}
        assert t5.adapter is None and report["trained"]["trainable percent"] < 100
    else:
        assert not moved and not (tmp_path / "model").exists()  # the base is where it was
        assert t5.adapter == "default"
        assert report["adapter_check"]["frozen weights unchanged"]
        assert report["adapter_check"]["largest logit difference"] > 0
        assert kind != "lora" or report["adapter"].startswith("The adapter learned.")
        assert report["adapter_file"]["reads back bit for bit"]
    # What is scored before is the model it began from, and after is what it leaves, in every task.
    texts = {folder: outputs(tmp_path / folder) for folder in ("outputs_before", "outputs")}
    assert texts["outputs_before"] != texts["outputs"]
    config = adapted(begun, kind)
    vocabulary = load_vocabulary(begun)
    splits = evaluation_splits(config.data, read_tasks(config.data), vocabulary, seed=0)
    for folder, model in (("outputs_before", base), ("outputs", t5)):
        for task, split in splits.items():
            prompts = [split.examples.example(index, 0)[0] for index in range(len(split.rows))]
            padded = np.array([np.pad(tokens, (0, 64 - len(tokens))) for tokens in prompts])
            written = vocabulary.decode(model.generate_tokens(padded, max_new_tokens=8).tolist())
            assert texts[folder][task] == [text.strip() for text in written]
    assert {row["task"] for row in report["summary"]} == {"question", "summarize", "topic"}
    assert all("rouge1 change" in row for row in report["summary"])


def test_a_soft_prompt_takes_no_packed_rows(begun, tmp_path):
    config = adapted(begun, "soft_prompt")
    config = dataclasses.replace(config, batch=dataclasses.replace(config.batch, pack=True))
    with pytest.raises(InputError, match="config.batch.pack: a soft prompt"):
        mixture.run(config, str(tmp_path))


def test_a_finished_run_is_scored_again(finished):
    before = (finished / "report.json").read_text()
    mixture.run(tiny_config(), str(finished))
    again = json.loads((finished / "report.json").read_text())
    assert again["scores"] == json.loads(before)["scores"]


class Characters:
    """Tokens that read back exactly."""

    eos_id, pad_id, unk_id, sentinel_ids = 1, 0, None, list(range(9_000, 9_064))

    def encode(self, texts, add_eos):
        return [[ord(c) + 2 for c in text] + [1] * add_eos for text in texts]

    def decode(self, rows):
        return ["".join(chr(token - 2) for token in row if token > 1) for row in rows]


def text(tokens: np.ndarray) -> str:
    return "".join(chr(token - 2) for token in tokens[:-1])


def test_examples_hold_their_templates_and_shots():
    config = tiny_config(
        {"data.encoder_length": "2000", "data.decoder_length": "200"}, drop=("question", "topic")
    )
    tasks = read_tasks(config.data)

    data = dataclasses.replace(config.data, encoder_length=6000, decoder_length=1000)
    made = make_mixture(data, tasks, Characters(), seed=0)

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
    split = evaluation_splits(data, tasks, Characters(), seed=0)["three_shots"]
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
    data = dataclasses.replace(config.data, encoder_length=6000, decoder_length=1000)
    made = make_mixture(data, read_tasks(data), Characters(), seed=0)
    shares = {name: shown / len(made) for name, shown in made.shown.items()}
    assert shares["topic 0"] == pytest.approx(8 / 72 / 3, rel=0.1)  # of 32 + 32 + 8 rows
    assert shares["summarize 0"] == pytest.approx(32 / 72 / 2, rel=0.1)


def test_the_tokenizer_sees_instructions_and_every_field():
    config = tiny_config()
    tasks = read_tasks(config.data)
    rows = tasks["topic"].train
    rows[0] = rows[0] | {"group": "patient 0815"}
    texts = all_texts(config.data, tasks)
    assert "patient 0815" not in texts  # a name, and no text
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
        ({"evaluation.task": "sumarize"}, "config.evaluation.task: there is no task 'sumarize'; there are "),
        ({"data.denoising.field": "text"}, "data.tasks.summarize.train.columns has no 'text'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_input(overrides, message):
    config = tiny_config(overrides)
    with pytest.raises(InputError, match=message):
        check_tasks(config.data, config.evaluation.task)


def test_a_typo_is_refused_before_the_folder_is_claimed(tmp_path):
    with pytest.raises(InputError, match="config.evaluation.task"):
        mixture.run(tiny_config({"evaluation.task": "sumarize"}), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_field_of_one_task_is_checked_by_name():
    with pytest.raises(InputError, match=r"--config.data.tasks.topic.rat: there is no such field"):
        load_config("nano.py:runlocal", {"data.tasks.topic.rat": "1"})
