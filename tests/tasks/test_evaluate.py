"""The task `evaluate`: the same numbers as at the end of the run whose model it scores."""

import json

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.evaluate import run as evaluate


@pytest.fixture(scope="module")
def score(tiny):
    """Runs configs/evaluate.py with the data and decoding of the tiny run: score(overrides, folder)."""
    names = ("data.encoder_length", "data.decoder_length", "evaluation.bootstrap_samples")
    shared = {name: tiny[name] for name in (*names, "generation.max_new_tokens")}

    def score(overrides, folder):
        config = load_config("evaluate.py:runlocal", shared | overrides)
        evaluate.run(config, str(folder))
        return json.loads((folder / "report.json").read_text())

    return score


@pytest.mark.parametrize("place", ["model", "."])
def test_a_finished_run_scored_by_its_folder(finished, score, tmp_path, place):
    """Its model or its workdir: both say the same, and the same as its own report."""
    overrides = {"model.source": str(finished.folder / place), "tokenizer.source": "model"}
    report = score(overrides, tmp_path / "scores")
    own = json.loads((finished.folder / "report.json").read_text())
    ours, theirs = report["scores"]["evaluation"], own["scores"]["evaluation"]
    for name in ("rows", "rouge", "outputs"):
        assert ours[name] == theirs[name]
    for name in ("lead_3", "shuffled"):
        assert ours["baselines"][name] == theirs["baselines"][name]
    assert "constant" not in ours["baselines"]  # it is searched in training data
    samples = [folder / "samples.jsonl" for folder in (tmp_path / "scores", finished.folder)]
    assert samples[0].read_bytes() == samples[1].read_bytes()
    assert report["teacher-forced"]["evaluation/loss"] == own["training"]["evaluation loss"]
    assert report["parameters"] == own["parameters"]
    assert not (tmp_path / "scores" / "checkpoints").exists()


def test_rows_without_references_get_the_same_texts_and_no_scores(finished, score, tmp_path):
    overrides = {
        "model.source": str(finished.folder), "tokenizer.source": "model", "data.target": "",
        "data.evaluation.columns": "{'dialogue': 'dialogue'}",
    }  # fmt: skip
    report = score(overrides, tmp_path)
    lines, theirs = (
        [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        for folder in (tmp_path, finished.folder)
    )
    assert lines == [{name: line[name] for name in ("id", "input", "output")} for line in theirs]
    assert report["outputs"]["rows"] == len(lines) and "scores" not in report
    assert [one["output"] for one in report["samples"]] == [
        line["output"] for line in lines[: len(report["samples"])]
    ]


def test_a_random_model_with_published_scores_beside_it(finished, tiny, score, tmp_path, caplog):
    overrides = {
        "published": "{'a paper': {'rouge1': 0.4728}}",
        "evaluation.beside_rouge": "('bleu', 'chrf')",
        "data.evaluation.limit": "1",
        "tokenizer.source": str(finished.folder / "tokenizer"),
        **{field: value for field, value in tiny.items() if field.startswith("model.")},
    }
    with caplog.at_level("INFO", logger="t5x_lite"):
        report = score(overrides, tmp_path)
    assert report["teacher-forced"]["evaluation/tokens"] == 16
    assert "shuffled" not in report["scores"]["evaluation"]["baselines"]  # there is no other row
    beside = report["scores"]["evaluation"]["beside_rouge"]
    assert list(beside) == ["bleu", "chrf"] and set(beside["chrf"]["baselines"]) == {"lead_3"}
    for page in ("report.md", "report.html"):
        text = (tmp_path / page).read_text()
        assert "a paper" in text and "chrF2" in text and "nrefs:1" in text
    assert "| a paper " in caplog.text and "47.28" in caplog.text and "report.md" in caplog.text


def test_candidates_to_choose_from_are_samples(score, tmp_path):
    with pytest.raises(InputError, match="mbr_candidates: the candidates are samples; set config"):
        score({"evaluation.mbr_candidates": "4"}, tmp_path)
    # Beams gave two of the four, and each row's tokens were read as those of two.
    beams = {"generation": "{'do_sample': True, 'num_beams': 2}", "evaluation.mbr_candidates": "4"}
    with pytest.raises(InputError, match="candidates are samples; .* without num_beams"):
        score(beams, tmp_path)


def test_one_output_a_row_is_scored(score, tmp_path):
    """Others were generated, and thrown away."""
    with pytest.raises(InputError, match="num_return_sequences: one output a row is scored"):
        score({"generation": "{'num_beams': 2, 'num_return_sequences': 2}"}, tmp_path)


def test_a_folder_without_a_model_is_refused(score, tmp_path):
    overrides = {"model.source": str(tmp_path), "tokenizer.source": "model"}
    with pytest.raises(InputError, match="has neither tokenizer.json nor spiece.model"):
        score(overrides, tmp_path / "scores")
    assert not (tmp_path / "scores" / "config.json").exists()
