"""`t5x-lite export`: what it writes, the card, adapters merged, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from t5x_lite import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.export import command

REPORT = {
    "config": {
        "task": "finetune",
        "model": {"source": "google/flan-t5-small"},
        "data": {
            "train": {"source": "knkarthick/dialogsum@main", "split": "train", "limit": 60},
            "evaluation": {"source": "bundled", "split": "test", "limit": 0},
            "template": "{dialogue} tl;dr",
        },
    },
    "differs from the base": {"schedule.learning_rate": [1e-4, 3e-4]},
    "environment": {"jax": "0.10.2"},
    "training": {"steps": 16, "last loss": 2.5},
    "scores": {
        "evaluation": {
            "rows": 8,
            "rouge": {"rouge1": {"mean": 0.4212, "low": 0.4, "high": 0.44}},
            "baselines": {"lead_3": {"rouge1": 0.3389}},
        }
    },
}


@pytest.fixture
def workdir(tmp_path):
    """The workdir of a run whose model is the nano one."""
    folder = tmp_path / "run"
    load_pretrained("nano").save_pretrained(folder / "model")
    (folder / "report.json").write_text(json.dumps(REPORT))
    for step, hashed in ((9, "0ld"), (16, "cafe")):
        (folder / "checkpoints" / str(step) / "metadata").mkdir(parents=True)
        file = folder / "checkpoints" / str(step) / "metadata" / "metadata"
        file.write_text(json.dumps({"examples": hashed}))
    return folder


@pytest.mark.parametrize("named", ["", "model"])
def test_the_card_says_what_is_known(workdir, tmp_path, named):
    out = tmp_path / "out"
    said = command.run(
        f"--model {workdir / named} --out {out} --license apache-2.0 --language en --name me/mine".split()
    )
    assert said.startswith(f"{out / 'hf'}: ")
    text = (out / "hf" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert fields == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text2text-generation",
        "tags": ["t5x-lite", "jax"],
        "language": ["en"],
        "base_model": "google/flan-t5-small",
        "datasets": ["knkarthick/dialogsum"],
    }
    hashes = json.loads((out / "hf" / "hashes.json").read_text())
    for part in (
        'prompt = "{dialogue} tl;dr"  # what it was trained on',
        't5.generate([prompt.format(dialogue="...")])',
        "# me/mine",
        "42.12",
        "33.89",
        "schedule.learning_rate",
        "0.0003",
        "16",
        "in order: `cafe`",
        'load_pretrained("me/mine")',
        *hashes.values(),
    ):
        assert part in body
    assert "\\" not in body  # nothing is escaped that was meant
    lines = body.splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if before and line:  # a table stands apart
            assert line.startswith("|") == before.startswith("|")
    assert "high" not in body and "None" not in body


def test_a_model_of_which_nothing_is_known_has_a_card_without_placeholders(tmp_path):
    command.run(f"--model nano --out {tmp_path / 'out'}".split())
    text = (tmp_path / "out" / "hf" / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n", 2)[1])
    assert (
        header["license"] == "unknown" and "base_model" not in header and "datasets" not in header
    )
    assert "Training" not in text and "Scores" not in text and "not known" not in text
    prompts = ["Summarize: Ann: Shall we go? Bob: Yes, at ten."]
    again = load_pretrained(tmp_path / "out" / "hf")
    assert again.generate(prompts, max_new_tokens=8) == load_pretrained("nano").generate(
        prompts, max_new_tokens=8
    )


def test_generation_defaults_go_along(workdir, tmp_path):
    file = workdir / "model" / "generation_config.json"
    fields = json.loads(file.read_text()) | {"num_beams": 3, "length_penalty": 0.7}
    file.write_text(json.dumps(fields))
    command.run(f"--model {workdir} --out {tmp_path / 'out'}".split())
    written = json.loads((tmp_path / "out" / "hf" / "generation_config.json").read_text())
    assert (written["num_beams"], written["length_penalty"]) == (3, 0.7)


def test_an_adapter_is_merged(tmp_path):
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    base = tmp_path / "base"
    load_pretrained("nano").save_pretrained(base)
    model = transformers.T5ForConditionalGeneration.from_pretrained(base)
    settings = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=4, target_modules=["q", "v"], init_lora_weights=False
    )
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    command.run(f"--model {base} --adapter {tmp_path / 'adapter'} --out {tmp_path / 'out'}".split())
    adapted, merged = load_pretrained(base), load_pretrained(tmp_path / "out" / "hf")
    adapted.load_adapter(tmp_path / "adapter")
    batch = {
        "encoder_input_tokens": np.array([[5, 6, 7, 1]]),
        "decoder_input_tokens": np.array([[0, 9, 8]]),
    }
    np.testing.assert_allclose(merged.logits(batch), adapted.logits(batch), atol=1e-3)
    bare = load_pretrained(base).logits(batch)
    assert np.abs(np.asarray(bare) - np.asarray(merged.logits(batch))).max() > 0.1
    text = (tmp_path / "out" / "hf" / "README.md").read_text()
    assert "an adapter are merged" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--out x", "export: the following arguments are required: --model; see t5x-lite export"),
        ("--model nano --out x --to hf,gguf", "--to: expected some of hf,ctranslate2,stablehlo"),
        ("--model nano --out x --max_new_tokens 0", "--max_new_tokens must be a whole number >= 1"),
        ("--model nano --out gs://x/y", "--out: expected a local directory, got 'gs://x/y'"),
        ("--model nano --out x --quantization int3", "argument --quantization: invalid choice"),
        ("--model nano --out x --lisense y", "unrecognized arguments: --lisense y"),
        ("--model ./nowhere --out x", "no such directory"),
    ],
)
def test_bad_flags_are_refused_by_name(flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        command.run(flags.split())
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_program_knows_the_word(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "t5x_lite", "export", "--model", "./none", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 2 and run.stderr.startswith("t5x-lite: ")
    assert run.stderr.count("\n") == 1
