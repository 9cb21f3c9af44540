"""Every config that ships: its fields are those its task reads, and `runlocal` runs to its report."""

import importlib
import json
import pathlib

import pytest
from etils import epath

from t5x_lite.config import load_config, shipped_configs
from t5x_lite.data.named_rows import check_files
from t5x_lite.sections import to_dict
from t5x_lite.wiring.text import get_vocabulary, read_rows

CONFIGS = pytest.mark.parametrize("file", shipped_configs(), ids=lambda file: file.name)
# A model that compiles in seconds, without the dropout that takes most of them, for as many steps as show all there is.
SMALLER = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
    "model.architecture.dropout_rate": "0.0",
    "train.steps": "2",
    "schedule.warmup_steps": "1",
    "batch.buckets": "1",
    "batch.size": "8",  # the tests' 8 devices share a batch
    "batch.tokens": "0",
}


@CONFIGS
@pytest.mark.parametrize("argument", ["", ":runlocal"])
def test_fields_are_those_of_the_task(file: pathlib.Path, argument: str):
    config = load_config(f"{file}{argument}", {})
    assert importlib.util.find_spec(f"t5x_lite.tasks.{config.task}.run")


@CONFIGS
def test_runlocal_reads_no_file_that_does_not_come_along(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_files(load_config(f"{file.resolve()}:runlocal", {}))


@CONFIGS
def test_an_unknown_argument_is_no_silent_default(file: pathlib.Path):
    """Arguments are words the config knows, or a path."""
    config = load_config(file.name, {})
    other = None
    try:
        other = load_config(f"{file}:no_such_word", {})
    except ValueError as error:
        assert "no_such_word" in str(error)
    else:
        assert "no_such_word" in json.dumps(to_dict(other)) and other != config


def test_the_bundled_texts_give_the_classifiers_vocabulary(tmp_path):
    """SentencePiece refuses more pieces than the texts have, and `runlocal` asks for fewer."""
    config = load_config("classifier.py", {})
    vocabulary = get_vocabulary(config, read_rows(config.data.train, "train"), epath.Path(tmp_path))
    assert vocabulary.size == config.tokenizer.vocab_size


# tests/tasks runs the others.
OTHERS = ("quickstart", "nano", "lab2_finetune", "lab2_lora")
# A minute for what the run of finetune.py shows already.
ALIKE = ("dialogsum_scratch", "lora", "tpu")


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.slow if file.stem in ALIKE else ())
        for file in shipped_configs()
        if file.stem not in OTHERS and load_config(str(file), {}).task == "finetune"
    ],
    ids=lambda file: file.name,
)
def test_runlocal_runs(file: pathlib.Path, tmp_path: pathlib.Path):
    overrides = dict(SMALLER)
    runlocal = load_config(f"{file}:runlocal", {})
    if runlocal.data.denoising.steps:
        overrides["data.denoising.steps"] = "1"
    config = load_config(f"{file}:runlocal", overrides)
    assert all(
        rows.source == "bundled" for rows in vars(config.data).values() if hasattr(rows, "source")
    )
    importlib.import_module(f"t5x_lite.tasks.{config.task}.run").run(config, str(tmp_path))
    for name in ("config.json", "report.md", "report.html", "samples.jsonl"):
        assert (tmp_path / name).stat().st_size
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["scores"]["evaluation"]["rows"] == config.data.evaluation.limit
