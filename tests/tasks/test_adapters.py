"""A run that trains an adapter: its files, its guard, and that stopping changes nothing of it."""

import json
import re
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.evaluation.adapter_check import AdapterCheck
from t5x_lite.interop.peft import load_adapter
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.tasks.evaluate import run as evaluate
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import adaptation

LORA = {
    "adapter.method": "lora",
    "adapter.targets": '((".*/(query|value)", 2),)',
    "adapter.alpha": "4.0",
    "adapter.dropout": "0.1",
    "adapter.rslora": "False",
    "adapter.dora": "False",
    "train.trainable": "adapters",
    "optimizer.rate_multipliers": "()",
    "schedule.learning_rate": "0.05",
    "schedule.warmup_steps": "1",
}
RESULTS = ("samples.jsonl", "adapter/adapter_model.safetensors", "model/model.safetensors")


@pytest.fixture(scope="module")
def lora_run(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora") / "run"
    finetune.run(tiny_config(LORA), str(folder))
    return folder


def losses_of(folder):
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(r["step"], r.get("loss"), r.get("evaluation/loss")) for r in records]


def test_what_it_leaves(lora_run):
    report = json.loads((lora_run / "report.json").read_text())
    check = report["adapter_check"]
    assert check["learned"] and report["adapter"].startswith("The adapter learned.")
    assert check["frozen weights unchanged"] and check["smallest norm"] > 0
    assert check["evaluation loss with the adapter"] < check["evaluation loss without the adapter"]
    tensors = load_file(lora_run / "adapter" / "adapter_model.safetensors")
    size = sum(array.size for array in tensors.values())
    assert report["trained"]["trainable parameters"] == size
    assert report["adapter_file"]["reads back bit for bit"]
    assert 1e6 * report["adapter_file"]["megabytes"] > 4 * size
    # The memory that the compiler counted: the base once, the trained part with its two moments, and a batch.
    (memory,) = report["memory of a step"]
    assert memory["batch (encoder x decoder x rows)"] == "32 x 16 x 8"
    base = 4 * (report["trained"]["all parameters"] - size)
    assert 0 < memory["state and batch"] * 1e6 - base - 3 * 4 * size < 1e4
    assert memory["all at once"] > memory["state and batch"] and memory["temporaries"] > 0
    assert "The adapter learned" in (lora_run / "report.md").read_text()
    # Checkpoints hold what is trained, the step and the optimizer, and nothing of the base.
    manifest = json.loads((lora_run / "checkpoints" / "6" / "manifest.json").read_text())
    assert [path for path in manifest["tree"] if path.startswith("params/")] == []
    adapters = [path for path in manifest["tree"] if path.startswith("adapters/")]
    assert len(adapters) == len(tensors)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_stopped_run_goes_on_bit_for_bit(lora_run, tiny_config, tmp_path, stopped_at, step):
    config = tiny_config(LORA)
    with stopped_at(step):
        finetune.run(config, str(tmp_path / "run"))
    finetune.run(config, str(tmp_path / "run"))
    for name in RESULTS:
        assert (tmp_path / "run" / name).read_bytes() == (lora_run / name).read_bytes(), name
    assert losses_of(tmp_path / "run") == losses_of(lora_run)
    ours, theirs = (
        json.loads((folder / "report.json").read_text())["adapter_check"]
        for folder in (tmp_path / "run", lora_run)
    )
    assert ours == theirs


@pytest.mark.slow
def test_a_run_whose_base_has_changed_is_refused(lora_run, tiny_config, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(lora_run / "model", base)
    changes = {"model.source": str(base), "model.architecture": "{}", "tokenizer.source": "model"}
    config = tiny_config(LORA | changes | {"train.steps": "2", "evaluation.every_steps": "2"})
    finetune.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "model").exists()  # the base is where it was
    weights = load_file(base / "model.safetensors")
    weights["shared.weight"] = weights["shared.weight"] * 1.5
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    (base / "hashes.json").unlink()  # changed on purpose
    with pytest.raises(InputError, match="not trained are not those that its run began with"):
        finetune.run(config, str(tmp_path / "run"))
    with pytest.raises(InputError, match="this adapter was trained on other weights"):
        load_pretrained(base).load_adapter(tmp_path / "run")


def test_the_python_surface(lora_run):
    t5 = load_pretrained(lora_run)
    batch = {
        "encoder_input_tokens": np.arange(2, 14).reshape(2, 6),
        "decoder_input_tokens": np.arange(2, 12).reshape(2, 5),
    }
    assert t5.adapter == "default"
    adapted = np.asarray(t5.logits(batch))
    greedy = t5.generate_tokens(batch["encoder_input_tokens"], max_new_tokens=6)
    t5.set_adapter(None)
    plain = np.asarray(t5.logits(batch))
    assert np.max(np.abs(adapted - plain)) > 1e-3
    # Cached decoding takes the adapter as well: its first token is the teacher-forced argmax.
    t5.set_adapter("default")
    start = {**batch, "decoder_input_tokens": np.zeros((2, 1), np.int32)}
    first = np.argmax(np.asarray(t5.logits(start))[:, 0], axis=-1)
    np.testing.assert_array_equal(greedy[:, 0], first)
    streamed = list(t5.stream_tokens(batch["encoder_input_tokens"][:1], max_new_tokens=6))
    np.testing.assert_array_equal(greedy[0, : len(streamed)], streamed)
    assert not greedy[0, len(streamed) :].any()
    # Several on one base, chosen by name.
    t5.load_adapter(lora_run / "adapter", name="other")
    other = t5.adapters["other"]
    other.tree["encoder"] = jax.tree.map(lambda leaf: leaf * 0, other.tree["encoder"])
    assert np.max(np.abs(np.asarray(t5.logits(batch)) - adapted)) > 1e-4
    t5.set_adapter("default")
    np.testing.assert_array_equal(t5.logits(batch), adapted)
    with pytest.raises(InputError, match="adapter 'third': there is none.*default, other"):
        t5.set_adapter("third")
    t5.merge_adapter()
    assert not t5.adapters
    np.testing.assert_allclose(t5.logits(batch), adapted, atol=1e-4)
    with pytest.raises(InputError, match="no adapter acts"):
        t5.save_adapter("nowhere")


def test_a_saved_adapter_is_the_loaded_one(lora_run, tmp_path):
    t5 = load_pretrained(lora_run)
    t5.save_adapter(tmp_path)
    again = load_adapter(tmp_path, t5.config, t5.params)
    assert again.settings == t5.adapters["default"].settings
    name = "adapter_model.safetensors"
    ours, theirs = load_file(tmp_path / name), load_file(lora_run / "adapter" / name)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["0.0", "0.02"])
def test_a_loaded_adapter_is_compared_with_itself_as_it_was(lora_run, tiny_config, tmp_path, rate):
    """A rate of 0 moves nothing, though B is far from zero; and "original" is the base with the loaded adapter."""
    source = {
        "model.source": str(lora_run / "model"), "model.architecture": "{}", "tokenizer.source": "model",
        "adapter": str({"method": "load", "source": str(lora_run / "adapter")}),
        "schedule.learning_rate": rate, "train.steps": "2", "evaluation.every_steps": "2",
        "comparison.original": "before",
    }  # fmt: skip
    changes = {k: v for k, v in LORA.items() if not k.startswith("adapter.")} | source
    finetune.run(tiny_config(changes), str(tmp_path / "run"))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    check, ended = (
        report["adapter_check"],
        json.loads((lora_run / "report.json").read_text())["adapter_check"],
    )
    before = check["evaluation loss before training"]
    assert before == pytest.approx(ended["evaluation loss with the adapter"], abs=1e-5)
    texts = [
        [
            json.loads(line)["output"]
            for line in (folder / "samples.jsonl").read_text().split("\n")
            if line
        ]
        for folder in (tmp_path / "run" / "original", lora_run, tmp_path / "run")
    ]
    assert texts[0] == texts[1]
    if rate == "0.0":
        assert check["largest norm"] == 0 == check["largest logit difference"]
        assert not check["learned"] and texts[2] == texts[0]
        assert re.search(
            "trained parts did not move.*those of the loaded adapter as it was", report["adapter"]
        )
    else:
        assert check["smallest norm"] > 0 and check["largest logit difference"] > 0


def test_evaluation_of_an_adapter(lora_run, tmp_path):
    changes = {
        "model.source": str(lora_run),
        "model.architecture": "{}",
        "tokenizer.source": "model",
        "data.evaluation.limit": "8",
        "data.encoder_length": "32",
        "data.decoder_length": "16",
        "generation.max_new_tokens": "8",
        "evaluation.bootstrap_samples": "20",
    }
    found = {}
    for name, more in (
        ("base", {}),
        ("adapted", {"adapter.method": "load", "adapter.source": str(lora_run / "adapter")}),
    ):
        evaluate.run(load_config("evaluate.py:runlocal", changes | more), str(tmp_path / name))
        report = json.loads((tmp_path / name / "report.json").read_text())
        found[name] = report["teacher-forced"]["evaluation/loss"]
    assert found["adapted"] < found["base"] - 1e-3
    new = {field: value for field, value in LORA.items() if field.startswith("adapter.")}
    bad = load_config("evaluate.py:runlocal", changes | new)
    with pytest.raises(InputError, match="nothing is trained here"):
        evaluate.run(bad, str(tmp_path / "bad"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, ""),
        ({"frozen_after": "b"}, "the frozen weights are not what they were"),
        ({"norms": {"a": 1.0, "b": 0.0}}, r"1 of 2 trained parts did not move \(b\)"),
        ({"norms": {}}, "0 of 0 trained parts"),
        ({"difference": 0.0}, "the outputs are those of the base"),
        ({"loss_with": 3.0}, "the loss on the held-out rows did not fall"),
        ({"loss_with": float("nan")}, "did not fall"),
    ],
)
def test_the_guard_notices_each_way_of_not_learning(change, message):
    good = dict(
        frozen_before="a", frozen_after="a", frozen=10, norms={"a": 1.0, "b": 2.0}, difference=0.1,
        loss_without=3.0, loss_with=2.0,
    )  # fmt: skip
    check = AdapterCheck(**good | change)
    if not message:
        assert not check.failures() and check.paragraph().startswith("The adapter learned.")
    else:
        assert (
            check.paragraph().startswith("The adapter did NOT learn") and len(check.failures()) == 1
        )
        assert re.search(message, check.paragraph())


def test_packed_rows_take_no_soft_prompt(tiny_config, tmp_path, monkeypatch):
    changes = {
        "adapter.method": "soft_prompt",
        "adapter.length": "4",
        "adapter.init_from": "normal",
        "train.trainable": "adapters",
        "batch.pack": "True",
    }
    with pytest.raises(InputError, match="config.batch.pack: a soft prompt"):
        finetune.run(tiny_config(changes), str(tmp_path))
    # Nor does one that is loaded, of which the config does not say what it is.
    loaded = SimpleNamespace(settings=SoftPromptSettings(4, "normal"), tree={})
    monkeypatch.setattr(adaptation, "load_adapter", lambda *args: loaded)
    config = tiny_config(
        {"adapter.method": "load", "adapter.source": "somewhere", "batch.pack": "True",
         "train.trainable": "adapters"}
    )  # fmt: skip
    model = SimpleNamespace(model=SimpleNamespace(config=None))
    with pytest.raises(InputError, match="config.batch.pack: a soft prompt"):
        adaptation.adaptation_of(config, model, None)
