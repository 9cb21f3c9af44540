"""The task `prompt`: a killed run goes on with each row once; the tables; what is refused before anything runs."""

import json

import jax
import numpy as np
import pytest

from t5x_lite.config import load_config
from t5x_lite.data.sources import load_rows
from t5x_lite.errors import InputError
from t5x_lite.tasks.prompt import decoder as prompt_decoder
from t5x_lite.tasks.prompt import run as prompt

SMALL = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
    "settings.greedy.max_new_tokens": "6",
    "settings.temperature_05.max_new_tokens": "6",
    "data.evaluation.limit": "21",
    "evaluation.bootstrap_samples": "20",
    "evaluation.beside_rouge": "('chrf',)",
    "evaluation.batch_tokens": "2048",
    "runs": "(('none', 'greedy'), ('few_shot', 'greedy'))",
    "side_by_side.rows": "(4, 17)",
    "side_by_side.runs": "(('self_consistency', 'temperature_05'), ('none', 'temperature_05'))",
}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Seven dialogues with three references each; markup and Markdown in them."""
    bundled = load_rows(
        "bundled",
        "test",
        {"dialogue": "dialogue", "summary": "summary"},
        id_column="id",
        exclude="",
        limit=21,
    )
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    with open(path, "w") as file:
        for number in range(21):
            row = {
                "id": f"row-{number}",
                "dialogue": bundled[number // 3]["dialogue"] + "\n#Person1#: <b>|&amp;</b>",
                "summary": bundled[number]["summary"],
            }
            file.write(json.dumps(row) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def load(references):
    def load(overrides=None):
        data = {"data.evaluation.source": references, "data.evaluation.split": ""}
        return load_config("lab1_prompting.py:runlocal", SMALL | data | (overrides or {}))

    return load


@pytest.fixture(scope="module")
def decoded():
    """{(file, row): (decoder, input, output)} of the finished run, in tokens."""
    return {}


@pytest.fixture(scope="module")
def finished(load, decoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompt")
    make_decode = prompt_decoder.Decoder._make_decode

    def recording(self, run, asked, row_ids, numbers):
        decode = make_decode(self, run, asked, row_ids, numbers)

        def record(tokens, indices):
            outputs = decode(tokens, indices)
            for place, index in enumerate(indices):
                if index >= 0:
                    key = run.file, int(row_ids[index])
                    decoded[key] = self, np.asarray(tokens)[place], outputs[place]
            return outputs

        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_decoder.Decoder, "_make_decode", recording)
        prompt.run(load(), str(folder))
    return folder


def predictions(folder):
    return {file.name: file.read_bytes() for file in (folder / "predictions").iterdir()}


def test_every_run_has_each_row_once_and_equal_prompts_equal_outputs(finished):
    files = predictions(finished)
    assert set(files) == {
        "none.greedy.jsonl",
        "few_shot.greedy.jsonl",
        "self_consistency.temperature_05.jsonl",
        "none.temperature_05.jsonl",
    }
    for name, content in files.items():
        records = [json.loads(line) for line in content.decode().splitlines()]
        expected = list(range(21)) if "greedy" in name else [4, 17]
        assert [record["row"] for record in records] == expected
        assert [record["id"] for record in records] == [f"row-{i}" for i in expected]
        if "greedy" in name:
            outputs = np.array([record["output"] for record in records]).reshape(7, 3)
            assert (outputs == outputs[:, :1]).all()


@pytest.mark.slow
def test_each_line_has_its_log_probability(finished, decoded):
    """Of the whole output, by one pass without a cache; of five chains, that of the chosen one."""
    some = {key: value for key, value in decoded.items() if key[1] in (0, 3, 4, 17)}
    assert {file for file, _ in some} == set(predictions(finished))
    for (file, row), (decoder, inputs, output) in some.items():
        lines = (finished / "predictions" / file).read_text().splitlines()
        (line,) = [line for line in map(json.loads, lines) if line["row"] == row]
        model = decoder._ready.model
        decoder_inputs = np.concatenate([[model.config.decoder_start_token_id], output[:-1]])
        logits = model.apply({"params": decoder._ready.params}, inputs[None], decoder_inputs[None])[
            0
        ]
        eos = np.flatnonzero(output == model.config.eos_token_id)
        length = int(eos[0]) + 1 if len(eos) else len(output)
        logprobs = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(output)), output]
        assert line["tokens"] == length and line["score"] is None
        assert line["logprob"] == pytest.approx(float(logprobs[:length].sum()), abs=1e-3)


def test_the_report(finished):
    report = json.loads((finished / "report.json").read_text())
    assert list(report["scores"]) == ["few_shot, greedy", "none, greedy"]
    for scores in report["scores"].values():
        assert (scores["rows"], scores["inputs"]) == (21, 7) and "rouge_multi_reference" in scores
    names = [line["prompt, settings"] for line in report["summary"]]
    assert names == ["none, greedy", "few_shot, greedy", "baseline lead_3"]
    assert all(line["chrF2"] for line in report["summary"])
    (difference,) = report["differences"]
    assert difference["minus none, greedy"] == "few_shot, greedy"
    means = [report["scores"][name]["rouge"]["rouge1"]["mean"] for name in report["scores"]]
    assert float(difference["ROUGE-1"].split()[0]) == pytest.approx(
        100 * (means[0] - means[1]), abs=0.006
    )
    assert (finished / "summary.png").read_bytes()[:4] == b"\x89PNG"
    assert [sample["row"] for sample in report["samples"]] == [4, 17]
    for sample in report["samples"]:
        assert {"dialogue", "human summary", "none, greedy", "few_shot, greedy"} < set(sample)
        assert {"self_consistency, temperature_05", "none, temperature_05"} < set(sample)
    assert report["round trip"]["decoded"] == report["round trip"]["text"]
    (few_shot,) = [line for line in report["prompts"] if line["prompt"] == "few_shot"]
    assert few_shot["dropped shots or passages"] > 0
    assert few_shot["shots from the evaluated split"] == 0
    page = (finished / "report.html").read_text()
    assert "&lt;b&gt;|&amp;amp;&lt;/b&gt;" in page and "<b>|" not in page
    assert "&lt;b&gt;\\|&amp;amp;&lt;/b&gt;" in (finished / "report.md").read_text()
    lines = (finished / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 21 and len(json.loads(lines[4])["outputs"]) == 4


@pytest.mark.parametrize("outputs_before", [9, pytest.param(30, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on(finished, load, tmp_path, monkeypatch, outputs_before):
    class Killed(Exception): ...

    written = 0
    write = prompt_decoder.Predictions.write

    def write_then_die(self, row, output, numbers):
        nonlocal written
        if written == outputs_before:
            self._stream.write('{"row": 20, "id": "row-20", "pro')  # a kill in the middle of a line
            self._stream.flush()
            raise Killed
        written += 1
        write(self, row, output, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(prompt_decoder.Predictions, "write", write_then_die)
        with pytest.raises(Killed):
            prompt.run(load(), str(tmp_path))
    decoded = []
    make_decode = prompt_decoder.Decoder._make_decode

    def counting(self, *arguments):
        decode = make_decode(self, *arguments)
        return lambda tokens, indices: decoded.append(indices) or decode(tokens, indices)

    monkeypatch.setattr(prompt_decoder.Decoder, "_make_decode", counting)
    prompt.run(load(), str(tmp_path))
    assert predictions(tmp_path) == predictions(finished)
    samples = [folder / "samples.jsonl" for folder in (tmp_path, finished)]
    assert samples[0].read_bytes() == samples[1].read_bytes()
    again = len(decoded)
    prompt.run(load(), str(tmp_path))
    assert len(decoded) == again, "nothing is left to decode"
    assert predictions(tmp_path) == predictions(finished)


def test_outputs_of_other_prompts_or_settings_are_not_taken(finished, load, tmp_path):
    """A file of predictions tells what it was asked with."""
    changes = {"settings.greedy.max_new_tokens": "5", "runs": "(('none', 'greedy'),)"}
    config = load({**changes, "side_by_side.runs": "()"})
    folder = tmp_path / "predictions"
    folder.mkdir()
    name = "none.greedy.jsonl"
    before = (finished / "predictions" / name).read_text()
    (folder / name).write_text(before)
    prompt.run(config, str(tmp_path))
    digests = [
        {json.loads(line)["prompt"] for line in text.splitlines()}
        for text in (before, (folder / name).read_text())
    ]
    assert not digests[0] & digests[1] and len(digests[1]) == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"runs": "(('nothing', 'greedy'),)"},
            "config.runs: there is no 'nothing' in config.prompts",
        ),
        ({"runs": "(('none', 'warm'),)"}, "config.runs: there is no 'warm' in config.settings"),
        ({"runs": "()"}, "config.runs is empty"),
        ({"runs": "(('none', 'greedy'), ('none', 'greedy'))"}, "is there twice"),
        ({"settings.greedy.top_p": "0.0"}, "top_p"),
        (
            {"settings.greedy.num_return_sequences": "2", "settings.greedy.num_beams": "2"},
            "num_ret",
        ),
        (
            {"runs": "(('self_consistency', 'greedy'),)"},
            "several chains are samples; set .*do_sample",
        ),
        (
            {"side_by_side.rows": "(21,)"},
            "config.side_by_side.rows: there is no row 21 among the 21",
        ),
        ({"prompts.few_shot.shots": "(4000,)"}, "prompts.few_shot.shots: there is no row 4000"),
        ({"prompts.none.template": "x"}, "config.prompts.none.template: .* no such field"),
        ({"prompts.instruction.template": "{text}"}, "instruction.template names 'text', but"),
        ({"data.truncation": "error", "data.encoder_length": "20"}, "over the limit of 20"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(load, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        prompt.run(load(overrides), str(tmp_path))
    assert not (tmp_path / "config.json").exists() and not (tmp_path / "predictions").exists()


def test_parity_and_fixed_differ_in_shots_and_truncation():
    fixed, parity = (load_config(f"lab1_prompting.py{a}", {}) for a in ("", ":parity"))
    assert (fixed.data.shots.split, fixed.data.truncation) == ("train", "oldest_turns")
    assert (parity.data.shots.split, parity.data.truncation) == ("test", "none")
    with pytest.raises(InputError, match="exclude each other"):
        load_config("lab1_prompting.py:parity,fixed", {})


def test_the_model_trained_on_dialogsum_is_asked_about_its_dev_split():
    for mode, shots in (("", "dialogsum.train.jsonl"), (",parity", "dialogsum.dev.jsonl")):
        config = load_config(f"lab1_prompting.py:dialogsum=a/b{mode}", {})
        data = config.data
        assert data.evaluation.source == "a/b/dialogsum.dev.jsonl"
        assert data.evaluation.exclude == "a/b/near_duplicates_vs_train.json:dev"
        assert data.shots.source == f"a/b/{shots}"
        assert config.model.source == "runs/dialogsum_scratch"
        prompt.check_prompts(config)
        assert {name for name, _ in (*config.runs, *config.side_by_side.runs)} <= set(
            config.prompts
        )
    with pytest.raises(InputError, match="exclude each other"):
        load_config("lab1_prompting.py:dialogsum=a/b,nano", {})
