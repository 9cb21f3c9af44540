"""Pretraining by configs/pretrain.py: T5's denoising and UL2's seven denoisers, packed, to their report."""

import json

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.tasks.pretrain import run as pretrain

TINY = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "evaluation.every_steps": "2",
    "logging.tensorboard": "False",
}


@pytest.fixture(scope="module")
def ul2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ul2")
    pretrain.run(load_config("pretrain.py:ul2,runlocal", TINY), str(folder))
    return folder


@pytest.mark.slow
def test_every_denoiser_is_in_the_report(ul2):
    report = json.loads((ul2 / "report.json").read_text())
    denoisers = load_config("pretrain.py:ul2", {}).data.denoisers
    assert [row["denoiser"] for row in report["summary"]] == sorted(denoisers)
    for row in report["summary"]:
        assert row["trained"] and 0 < row["loss, nats a token"] < 7  # ln 640 = 6.5
    assert report["samples"][0]["input"].startswith("[R]")
    assert "<extra_id_0>" in report["samples"][0]["input"]
    # Held-out texts with all denoisers were watched, and training went on.
    watched = [json.loads(line) for line in (ul2 / "metrics.jsonl").read_text().splitlines()]
    assert sum("evaluation/loss" in record for record in watched) == 2
    model = load_pretrained(str(ul2 / "model"))
    assert model.generate(["[S] #Person1#: Hello."], max_new_tokens=3)


def test_training_lowers_the_loss_and_a_denoiser_without_a_rate_is_only_scored(tmp_path):
    settings = TINY | {"train.steps": "30", "evaluation.every_steps": "15"}
    names = load_config("pretrain.py:ul2,runlocal", {}).data.denoisers
    rates = {f"data.denoisers.{name}.rate": str(float(name == "r_3")) for name in names}
    config = load_config("pretrain.py:ul2,runlocal", settings | rates)
    pretrain.run(config, str(tmp_path))
    summary = json.loads((tmp_path / "report.json").read_text())["summary"]
    assert [row["denoiser"] for row in summary if row["trained"]] == ["r_3"]
    losses = [
        record["loss"]
        for record in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
        if "loss" in record
    ]
    assert losses[-1] < losses[0] - 1


def test_denoisers_are_ul2s(ul2):
    config = load_config("pretrain.py:ul2,runlocal", TINY)
    vocabulary = load_vocabulary(ul2 / "tokenizer")
    rows = [{"id": "0", "text": "One two three four five six seven eight nine ten. " * 8}]
    sources = pretrain.make_sources(config, rows, vocabulary, "texts")
    assert set(sources) == set(config.data.denoisers)
    sentinels = set(vocabulary.sentinel_ids)
    for name, source in sources.items():
        prefix = vocabulary.encode([config.data.denoisers[name].prefix], add_eos=False)[0]
        for index in range(len(source)):
            inputs, targets = source.example(index, 0)
            assert len(inputs) == source.encoder_lengths[index] <= config.data.encoder_length
            assert len(targets) == source.decoder_lengths[index]
            assert inputs[: len(prefix)].tolist() == prefix
            spans = sum(token in sentinels for token in inputs.tolist())
            kept = len(inputs) - len(prefix) - spans - 1
            noise = len(targets) - spans - 1
            assert noise == round((kept + noise) * config.data.denoisers[name].noise_density)
            if name == "s":  # one span, at the end: the rest of the text is its target
                assert spans == 1 and inputs[-2] in sentinels
                piece = source.texts[index]
                np.testing.assert_array_equal(targets[1:-1], piece[len(piece) - noise :])


def test_packed_rows_hold_several_pieces(ul2):
    data = json.loads((ul2 / "report.json").read_text())["data"]
    assert "(64, 64, 8)" in data["batch shapes (encoder, decoder, rows)"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.denoisers.t5.rate": "0.0"}, "config.data.denoisers: every rate is 0"),
        ({"data.field": "words"}, "config.data.field: config.data.train.columns has no 'words'"),
        ({"data.decoder_length": "5"}, "config.data.decoder_length: 5 is too short for .* 't5'"),
        ({"data.denoisers.t5.noise_density": "0.0"}, "noise_density must lie between 0 and 1"),
        ({"tokenizer.extra_ids": "1"}, "tokenizer.extra_ids: the longest text needs"),
    ],
)
def test_bad_input(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        pretrain.run(load_config("pretrain.py:runlocal", TINY | changes), str(tmp_path))
