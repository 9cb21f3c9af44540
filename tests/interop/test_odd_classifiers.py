"""Classifiers whose config says something else than their tokenizer or their name."""

import json
import logging

import numpy as np
import pytest
import transformers

from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import load_text_classifier
from tests.interop.test_classifier_kinds import TEXTS, classifier

LABELS = ["fine", "rude"]


def say(where, **fields):
    file = where / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_padding_is_the_tokenizers_as_in_the_pipeline(tmp_path, caplog):
    """A config with another pad (here [SEP]) hid the end of each text from the model, without a word."""
    where = classifier(tmp_path / "model", LABELS)
    right = load_text_classifier(where).probabilities(TEXTS)
    say(where, pad_token_id=3)
    pipe = transformers.pipeline("text-classification", str(where), top_k=None)
    theirs = [
        [{one["label"]: one["score"] for one in row}[label] for label in LABELS]
        for row in pipe(TEXTS)
    ]
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        ours = load_text_classifier(where)
    assert "its config's pad_token_id is 3, its tokenizer's 0: the latter is taken" in caplog.text
    np.testing.assert_allclose(ours.probabilities(TEXTS), theirs, atol=1e-5)
    np.testing.assert_allclose(ours.probabilities(TEXTS), right, atol=1e-5)


@pytest.mark.parametrize("name", ["is_decoder", "add_cross_attention"])
def test_a_decoder_is_no_encoder(tmp_path, name):
    """Its tokens see those before them alone; it was read as an encoder."""
    where = classifier(tmp_path / "model", LABELS)
    say(where, **{name: True})
    with pytest.raises(InputError, match=f"{name} is true, .*; only encoders are read"):
        load_text_classifier(where)


def test_a_classifier_without_a_vocabulary_is_refused(tmp_path):
    """AutoTokenizer made one of its config, to which every word is unknown."""
    where = classifier(tmp_path / "model", LABELS)
    for file in [*where.glob("tokenizer*"), *where.glob("*.txt"), *where.glob("special*")]:
        file.unlink()
    assert len(transformers.AutoTokenizer.from_pretrained(where)) < 10
    with pytest.raises(InputError, match="has no tokenizer.json, vocab.txt or other vocabulary"):
        load_text_classifier(where)
