"""What lm-evaluation-harness asks, answered on nano: as torch's T5 does, and as the harness's own model `hf` on it."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest
import torch
import transformers

import t5x_lite
from t5x_lite import load_pretrained
from t5x_lite.data.sources import load_rows
from t5x_lite.errors import InputError
from t5x_lite.harness import command, lm_eval_model
from t5x_lite.harness.lm_eval_model import _sizes
from t5x_lite.harness.requests import Requests

NANO = pathlib.Path(t5x_lite.__file__).parent / "data" / "nano"
ASK = "{dialogue}\n\nWhat is the topic of this dialogue?"


@pytest.fixture(scope="module")
def rows():
    columns = {name: name for name in ("dialogue", "topic")}
    rows = load_rows("bundled", "test", columns, id_column="id", exclude="", limit=40)
    topics = list(dict.fromkeys(row["topic"] for row in rows))[:3]
    return [
        {
            "text": ASK.format(**row),
            "choices": sorted({*topics, row["topic"]}),
            "topic": row["topic"],
        }
        for row in rows[5:8]
    ]


@pytest.fixture(scope="module")
def ours():
    return Requests(load_pretrained("nano"), batch_tokens=2048, max_length=0, max_gen_toks=12)


def asked(*args):
    return types.SimpleNamespace(args=args)


def test_likelihoods_are_torchs_and_come_in_order(ours, rows):
    """Choices of two contexts, mixed; one context ends in a space, which is the continuation's."""
    model = transformers.T5ForConditionalGeneration.from_pretrained(NANO).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(NANO)
    pairs = [
        (row["text"] + " " * (number % 2), choice)
        for number in range(4)
        for row in rows[:2]
        for choice in row["choices"][number : number + 1]
    ]
    kept = []
    ours.cache_hook = types.SimpleNamespace(add_partial=lambda *one: kept.append(one))
    found = ours.loglikelihood([asked(*pair) for pair in pairs])
    assert kept == [("loglikelihood", p, f) for p, f in zip(pairs, found, strict=True)]
    for (context, choice), (logprob, greedy) in zip(pairs, found, strict=True):
        ids = tokenizer(context.rstrip()).input_ids
        wanted = tokenizer(choice, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), labels=torch.tensor([wanted])).logits[0]
        logs = torch.log_softmax(logits, -1)
        total = sum(float(line[token]) for line, token in zip(logs, wanted, strict=True))
        assert logprob == pytest.approx(total, abs=1e-3)
        assert greedy == (logits.argmax(-1).tolist() == wanted)
    assert len({round(logprob, 3) for logprob, _ in found}) > 4


def test_texts_end_before_the_first_stop(ours, rows):
    """What no token can spell (T5's own vocabulary has no newline) stops nothing; settings of two kinds, in order."""
    assert not ours._can_write("\u0416") and ours._can_write("a")
    one, two = rows[0]["text"], rows[1]["text"]
    plain, until_a = {"until": ["\u0416"], "max_gen_toks": 12}, {"until": "a"}
    texts = ours.generate_until(
        [asked(one, plain), asked(two, until_a), asked(two, plain), asked(one, until_a)]
    )
    whole = ours.t5.generate([one, two], max_new_tokens=12)
    assert [texts[0], texts[2]] == whole and all(whole) and whole[0] != whole[1]
    assert [texts[3], texts[1]] == [text.split("a")[0] for text in whole] != whole
    with pytest.raises(InputError, match="top_z"):
        ours.generate_until([asked(one, {"top_z": 3})])


def test_settings_come_under_the_harness_names(ours):
    settings, until = ours._settings(
        {"until": "x", "max_tokens": 5, "temperature": 0.5, "top_p": 1}
    )
    assert settings == {
        "max_new_tokens": 5, "do_sample": True, "temperature": 0.5, "top_p": 1, "stop_strings": ["x"],
    }  # fmt: skip
    assert until == ["x"]
    settings, _ = ours._settings({"temperature": 0.0})
    assert settings == {"max_new_tokens": 12, "do_sample": False}


def test_a_long_context_keeps_its_end_and_says_so(rows, caplog):
    short = Requests(load_pretrained("nano"), batch_tokens=64, max_length=5, max_gen_toks=4)
    (ids,) = short._contexts([rows[0]["text"]])
    assert ids == short.t5.tokenizer.encode([rows[0]["text"]], add_eos=True)[0][-5:]
    assert "1 of 1 contexts have more than 5 tokens and lose their beginning" in caplog.text
    assert short._rows_of_a_batch([3, 4, 30, 40]) == 2 and short._rows_of_a_batch([900, 901]) == 1


def test_what_is_refused_by_name(ours, monkeypatch):
    with pytest.raises(InputError, match="loglikelihood_rolling .* is for decoder-only models"):
        ours.loglikelihood_rolling([asked("a text")])
    with pytest.raises(InputError, match="the continuation '' has no token"):
        ours.loglikelihood([asked("a text", "")])
    with pytest.raises(InputError, match="--model_args batch_rows: there is no such argument"):
        _sizes({"batch_rows": 3})
    with pytest.raises(InputError, match="batch_tokens must be a whole number, got '9'"):
        _sizes({"batch_tokens": "9"})
    with pytest.raises(InputError, match="--model is this package's own"):
        command.run(["--model", "hf", "--tasks", "boolq"])
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    lm_eval_model.lm_eval_model.cache_clear()
    with pytest.raises(InputError, match=r"lm_eval: cannot be imported .*t5x-lite\[lm_eval\]"):
        command.run(["--tasks", "boolq"])


@pytest.fixture
def tasks(rows, tmp_path):
    """Two tasks of local files: one to choose, one to write."""
    manager = pytest.importorskip("lm_eval.tasks", reason='pip install "t5x-lite[lm_eval]"')
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json", "test_split": "test", "doc_to_text": "{{text}}",
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "cache")},
    }  # fmt: skip
    choose = {
        **common, "task": "choose", "output_type": "multiple_choice", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{choices.index(topic)}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    write = {
        **common, "task": "write", "output_type": "generate_until", "doc_to_target": "{{topic}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16},
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    for task in (choose, write):  # JSON is YAML
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(task))
    return manager.TaskManager(include_path=str(tmp_path), include_defaults=False)


@pytest.mark.slow  # half a minute: two models, two tasks
def test_the_harness_finds_what_it_finds_with_its_own_model(tasks):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.api.registry import get_model
    from lm_eval.models.huggingface import HFLM

    ours = lm_eval_model.lm_eval_model()
    assert get_model("t5x_lite") is ours
    models = [
        ours(pretrained="nano", batch_size=1),
        HFLM(str(NANO), backend="seq2seq", device="cpu"),
    ]
    found, wanted = (
        lm_eval.simple_evaluate(
            model, tasks=["choose", "write"], task_manager=tasks, bootstrap_iters=0
        )
        for model in models
    )
    assert found["results"]["choose"]["acc,none"] == wanted["results"]["choose"]["acc,none"]
    for task in ("choose", "write"):
        for name, value in wanted["results"][task].items():
            assert found["results"][task][name] == value, (task, name)
    for mine, theirs in zip(found["samples"]["choose"], wanted["samples"]["choose"], strict=True):
        mine, theirs = (
            np.array([each[0] for each in sample["filtered_resps"]], float)
            for sample in (mine, theirs)
        )
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    texts = [
        [sample["filtered_resps"] for sample in result["samples"]["write"]]
        for result in (found, wanted)
    ]
    assert texts[0] == texts[1] and all(text[0] for text in texts[0])


def test_the_word_starts_the_harness_with_this_model(monkeypatch):
    program = pytest.importorskip("lm_eval.__main__")
    seen = []
    monkeypatch.setattr(program, "cli_evaluate", lambda: seen.append(list(sys.argv)))
    before = list(sys.argv)
    assert command.run(["--model_args", "pretrained=nano", "--tasks", "boolq"]) == ""
    assert seen == [
        ["lm_eval", "run", "--model", "t5x_lite", "--model_args", "pretrained=nano", "--tasks", "boolq"]
    ]  # fmt: skip
    assert sys.argv == before


def test_the_harness_makes_the_model_by_its_own_arguments(caplog):
    """It gives a device and a batch size where nobody names one."""
    pytest.importorskip("lm_eval")
    make = lm_eval_model.lm_eval_model().create_from_arg_obj
    own = {"batch_size": 1, "max_batch_size": None, "device": "cuda:0"}
    model = make({"pretrained": "nano", "max_length": 64}, own)
    assert model.max_length == 64 and model.tokenizer_name == "t5x_lite:nano"
    assert "batch_size" not in caplog.text
    make({"pretrained": "nano", "batch_tokens": 512}, own | {"batch_size": "8"})
    assert "batch_size is not read; a batch has batch_tokens=512 encoder tokens" in caplog.text
    with pytest.raises(InputError, match="lm_eval: which model"):
        make({}, own)
    with pytest.raises(InputError, match="no such directory"):
        make({"pretrained": "./nowhere"}, own)
