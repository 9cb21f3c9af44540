"""Lab 2 as one command: its figures and settings, its quirks in `parity` and not in `fixed`, its comparison."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.sections import to_dict
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import supervised
from t5x_lite.wiring.adaptation import adaptation_of
from t5x_lite.wiring.model import Loaded, _placed

FULL, LORA = "lab2_finetune.py", "lab2_lora.py"
KINDS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
FLAN_T5_BASE = T5Config(
    vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_encoder_layers=12, num_decoder_layers=12,
    num_heads=12, tie_word_embeddings=False, scale_decoder_outputs=False,
    feed_forward_proj="gated-gelu",
)  # fmt: skip


# The settings and figures of the lab


@pytest.mark.parametrize("argument", ["", ":parity"])
def test_the_settings_are_the_labs(argument):
    full, lora = load_config(f"{FULL}{argument}", {}), load_config(f"{LORA}{argument}", {})
    for config in (full, lora):
        assert config.data.template == "finetune" and config.batch.size == 8
        assert config.train.steps == -(-12_460 // 8)  # an epoch
        assert dict(config.generation) == {"max_new_tokens": 200}
        assert (config.schedule.name, config.schedule.final_fraction) == ("linear", 0.0)
    assert full.schedule.learning_rate == 1e-5 and full.optimizer.weight_decay == 0.01
    assert full.train.trainable == "full"
    assert lora.schedule.learning_rate == 1e-3 and lora.train.trainable == "adapters"
    assert to_dict(lora)["adapter"] == {
        "method": "lora", "targets": ((".*/(query|value)", 32),), "alpha": 32.0, "dropout": 0.05,
        "rslora": False, "dora": False,
    }  # fmt: skip
    assert lora.comparison.runs == (("instruct", f"train:{FULL}{argument}"),)
    assert lora.comparison.rows[0] == 200  # the dialogue that the lab shows


def test_what_was_published():
    published = load_config(LORA, {}).published
    gains = {
        later: [
            round(100 * (published[later][kind] - published[earlier][kind]), 1) for kind in KINDS
        ]
        for earlier, later in (("original", "instruct"), ("instruct", "PEFT"))
    }
    assert gains == {"instruct": [18.8, 10.4, 13.7], "PEFT": [-1.3, -1.7, -1.3]}
    assert not load_config(f"{LORA}:nano", {}).published  # of other data


@pytest.mark.parametrize(
    ("file", "trained", "of"),
    [(FULL, 247_577_856, 247_577_856), (LORA, 3_538_944, 251_116_800)],
)
def test_the_parameters_of_flan_t5_base(file, trained, of):
    """From shapes alone, as the run counts them."""
    config = load_config(file, {})
    mesh = make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1])
    model = T5(FLAN_T5_BASE, Execution())
    with on_mesh(mesh):
        loaded = Loaded(model, _placed(model, config.model.param_dtype, mesh), dict)
        sizes = adaptation_of(config, loaded, mesh).sizes()
    assert (sizes["trainable parameters"], sizes["all parameters"]) == (trained, of)
    assert round(sizes["trainable percent"], 2) == (100 if trained == of else 1.41)
    assert round(sizes["adapter megabytes"], 1) == (0 if trained == of else 14.2)


# Runs


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Six rows of two dialogues, as DialogSum's test split has three summaries each."""
    file = tmp_path_factory.mktemp("data") / "test.jsonl"
    dialogues = [
        "#Person1#: Where is my red bag?\n#Person2#: On the chair in the kitchen.",
        "#Person1#: Shall we go to the lake on Sunday?\n#Person2#: Yes, by train.",
    ]
    summaries = [
        "They talk about a bag.",
        "a red bag on the chair",
        "The lake, on Sunday, by train.",
    ]
    lines = [
        {"id": f"test_{i}_{j}", "dialogue": text, "summary": f"{summary} {'so ' * i}"}
        for i, text in enumerate(dialogues)
        for j, summary in enumerate(summaries)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def begun(finished, roughened):
    """A model to begin from, with its tokenizer."""
    return roughened(finished.folder / "model")


@pytest.fixture(scope="module")
def changes(tiny, several, begun):
    """What makes a run of the lab one of a second."""
    wanted = ("data.", "train.", "evaluation.", "checkpoint.", "generation.", "logging.")
    return {field: text for field, text in tiny.items() if field.startswith(wanted)} | {
        "model.source": str(begun),
        "tokenizer.source": "model",
        "data.evaluation.source": str(several),
        "data.evaluation.split": "",
        "data.evaluation.limit": "0",
        "data.encoder_length": "64",
        "train.steps": "3",
        "schedule.warmup_steps": "0",
        "schedule.learning_rate": "0.05",
        "comparison.rows": "(3, 0)",
    }


@pytest.fixture(scope="module")
def run(changes, tmp_path_factory):
    """run("lab2_finetune.py:runlocal", overrides) -> its folder, each once."""
    done = {}

    def run(spec, overrides=None):
        key = (spec, json.dumps(overrides, sort_keys=True))
        if key not in done:
            folder = tmp_path_factory.mktemp("lab2") / "run"
            config = load_config(spec, changes | (overrides or {}))
            finetune.run(config, str(folder))
            done[key] = folder
        return done[key]

    return run


@pytest.fixture(scope="module")
def full(run):
    return run(f"{FULL}:runlocal", {"batch.buckets": "((64, 16),)"})


@pytest.fixture(scope="module")
def lora(run, full):
    return run(
        f"{LORA}:runlocal",
        {
            "batch.buckets": "((64, 16),)",
            "comparison.runs": f"(('instruct', '{full}'),)",
            "published": "{'original': {'rouge1': 0.2}, 'PEFT': {'rouge1': 0.45, 'rouge2': 0.1},"
            " 'a paper': {'rougeL': 0.4}}",
        },
    )


def samples(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def outputs(folder):
    return [row["output"] for row in samples(folder)]


def report(folder):
    return json.loads((folder / "report.json").read_text())


def generated(source, rows):
    """What a model writes for the prompts of these rows, through the Python surface."""
    t5 = load_pretrained(source)
    prompts = [row["input"] for row in rows]
    return [text.strip() for text in t5.generate(prompts, max_new_tokens=8)]


@pytest.mark.slow
def test_three_systems_side_by_side(lora, full):
    found = report(lora)
    names = [line["system"] for line in found["summary"]]
    assert names == [
        "original", "published: original", "instruct", "PEFT", "published: PEFT", "published: a paper",
    ]  # fmt: skip
    assert found["summary"][1]["ROUGE-1"] == "20.00" and found["summary"][5]["ROUGE-L"] == "40.00"
    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    rows = samples(lora)
    for name, folder in (("original", lora / "original"), ("instruct", full), ("PEFT", lora)):
        flat, best = np.zeros((6, 3)), np.zeros((6, 3))
        for i, (row, text) in enumerate(zip(rows, outputs(folder), strict=True)):
            several = [r["reference"] for r in rows if r["input"] == row["input"]]
            assert len(several) == 3
            scores = [scorer.score(reference, text) for reference in several]
            own = scorer.score(row["reference"], text)
            flat[i] = [own[kind].fmeasure for kind in KINDS]
            best[i] = [max(score[kind].fmeasure for score in scores) for kind in KINDS]
        for section, values in (("summary", flat), ("comparison_best_reference", best)):
            (line,) = [line for line in found[section] if line["system"] == name]
            for column, title in enumerate(KINDS.values()):
                assert line[title].startswith(f"{100 * values[:, column].mean():.2f} (")
    differences = {line["difference"]: line for line in found["comparison_differences"]}
    assert list(differences) == [
        "instruct minus original", "PEFT minus original", "published: PEFT minus original",
        "PEFT minus instruct",
    ]  # fmt: skip
    assert differences["published: PEFT minus original"] == {
        "difference": "published: PEFT minus original", "ROUGE-1": "+25.00",
    }  # fmt: skip
    assert len(found["comparison_best_reference_differences"]) == 3
    assert [sample["id"] for sample in found["samples"]] == ["test_1_0", "test_0_0"]
    assert (
        found["samples"][0]
        | {
            "original": outputs(lora / "original")[3],
            "instruct": outputs(full)[3],
            "PEFT": outputs(lora)[3],
        }
        == found["samples"][0]
    )
    page = (lora / "report.md").read_text()
    assert "6 rows of 2 inputs" in page and "PEFT minus instruct" in page


@pytest.mark.slow
def test_the_original_stays_the_original(full, lora, begun):
    """`fixed`: the first system is what the source's files answer, though training went on from them."""
    rows = samples(full)
    source = generated(begun, rows)
    assert outputs(full / "original") == outputs(lora / "original") == source
    assert outputs(full) == generated(full, rows) != source
    assert outputs(lora) == generated(lora, rows) != source


@pytest.mark.slow
@pytest.mark.parametrize("file", [FULL, LORA])
def test_parity_changes_the_original_in_place(run, changes, begun, file):
    """What the lab calls the original has been trained by then, so it answers as the trained model does."""
    overrides = {"comparison.runs": "()", "batch.buckets": "((64, 16),)"}
    folder = run(f"{file}:runlocal,parity", overrides)
    found = report(folder)
    name = load_config(f"{file}:runlocal", {}).comparison.name
    assert [line["system"] for line in found["summary"]] == ["original", name]
    assert found["summary"][0] == found["summary"][1] | {"system": "original"}
    assert found["samples"][0]["original"] == outputs(folder)[3]
    assert (
        outputs(folder) == generated(folder, samples(folder)) != generated(begun, samples(folder))
    )
    assert not (folder / "original").exists()
    assert "changed in place" in found["comparison"]


@pytest.mark.parametrize(
    "mode", [pytest.param(name, marks=pytest.mark.slow) for name in ("parity", "fixed")]
)
def test_what_a_step_is_given(run, changes, tmp_path, monkeypatch, mode):
    """`parity`: every row as long as the limits, its pads learnt and attended to; `fixed`: neither."""
    seen = []
    iterate = supervised.iterate

    def watching(plan, start, stop, **settings):
        for batch in iterate(plan, start, stop, **settings):
            seen.append(batch)
            yield batch

    monkeypatch.setattr(supervised, "iterate", watching)
    config = load_config(f"{FULL}:runlocal,{mode}", changes | {"train.steps": "1", "data.truncation": "end",
        "data.encoder_length": "64", "data.decoder_length": "48", "batch.multiple": "8",
        "data.train.source": str(changes["data.evaluation.source"]), "data.train.split": "",
        "evaluation.every_steps": "1"})  # fmt: skip
    if mode == "parity":  # what the argument gives, of these lengths
        batch = dataclasses.replace(config.batch, buckets=((64, 48),))
        config = dataclasses.replace(config, batch=batch)
    finetune.run(config, str(tmp_path))
    (batch,) = seen
    inputs, targets = batch["encoder_input_tokens"], batch["decoder_target_tokens"]
    pads = targets == 0
    weights = batch["decoder_loss_weights"]
    filled = weights.any(axis=1)
    assert pads[filled].any() and (inputs[filled] == 0).any()
    if mode == "parity":
        assert inputs.shape[1] == 64 and targets.shape[1] == 48
        np.testing.assert_array_equal(weights[filled], 1)
        np.testing.assert_array_equal(batch["encoder_segment_ids"], 1)
        np.testing.assert_array_equal(batch["decoder_input_tokens"][:, 1:], targets[:, :-1])
    else:
        np.testing.assert_array_equal(weights, ~pads)
        assert "encoder_segment_ids" not in batch  # then the model masks pads


@pytest.mark.slow
def test_an_adapter_is_read_back_to_be_trained_or_used(run, lora):
    loaded = run(
        f"{LORA}:runlocal",
        {
            "adapter": f"{{'method': 'load', 'source': '{lora / 'adapter'}'}}",
            "batch.buckets": "((64, 16),)",
            "comparison.runs": "()",
            "train.steps": "1",
            "evaluation.every_steps": "1",
        },
    )
    assert report(loaded)["trained"] == report(lora)["trained"]
    assert report(lora)["adapter_file"]["reads back bit for bit"]
    t5 = load_pretrained(lora)  # frozen: nothing of it is trained
    assert t5.adapter == "default"
    with pytest.raises(InputError, match="leave nothing to train"):
        run(
            f"{LORA}:runlocal",
            {"train.trainable": "((\".*\", 'frozen'),)", "comparison.runs": "()"},
        )


@pytest.mark.slow
def test_a_recipe_is_run_first_and_once(changes, full, tmp_path, monkeypatch):
    recipe = tmp_path / "own.py"
    recipe.write_text(
        "from t5x_lite.config import load_values\n"
        f"def get_config():\n    return load_values({FULL + ':runlocal'!r}, {changes!r})\n"
    )
    overrides = changes | {"comparison.runs": f"(('instruct', 'train:{recipe}'),)"}
    config = load_config(f"{LORA}:runlocal", overrides)
    finetune.run(config, str(tmp_path / "run"))
    inner = tmp_path / "run" / "compared" / "instruct"
    assert [line["system"] for line in report(tmp_path / "run")["summary"]][1] == "instruct"
    times = (inner / "report.json").stat().st_mtime_ns
    finetune.run(config, str(tmp_path / "run"))  # finished: scored again
    assert (inner / "report.json").stat().st_mtime_ns == times


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"comparison.runs": "(('PEFT', '{full}'),)"}, "two systems are called 'PEFT'"),
        ({"comparison.name": "original"}, "two systems are called 'original'"),
        ({"comparison.runs": "(('a', '{full}/none'),)"}, "none/samples.jsonl is not there"),
        ({"comparison.runs": "(('a', 'train:nope.py'),)"}, "runs, a: --config: there is no file"),
        (
            {"comparison.runs": "(('a', 'train:lab2_finetune.py:runlocal'),)"},
            "lab2_finetune.py:runlocal is scored on other rows than config.data.evaluation",
        ),
        (
            {"comparison.runs": "(('a', '{full}'),)", "data.evaluation.source": "bundled",
             "data.evaluation.split": "test", "data.evaluation.limit": "2", "comparison.rows": "()"},
            "has no output for 2 of the 2 rows",
        ),
        ({"comparison.runs": "()", "comparison.rows": "(6,)"}, "no row 6; 6 rows are evaluated"),
        ({"comparison.runs": "()", "batch.pack": "True", "data.pads.in_loss": "True"}, "config.data.pads"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:24],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_training(
    changes, full, tmp_path, overrides, message
):
    overrides = {field: text.replace("{full}", str(full)) for field, text in overrides.items()}
    config = load_config(f"{LORA}:runlocal", changes | overrides)
    with pytest.raises(InputError, match=message):
        finetune.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()
