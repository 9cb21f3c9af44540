"""Classifiers of BERT's families with random weights: trained by the task, and what transformers then makes of them."""

import json

import numpy as np
import pytest
import torch
import transformers

from t5x_lite.config import load_config
from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.interop.hub import model_directory
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.tasks.classifier import run as classifier
from t5x_lite.wiring.classifier_training import LoadedClassifier
from t5x_lite.wiring.model import encoder_of

TINY = {
    "data.train.source": "bundled/toxicity",
    "data.train.split": "train",
    "data.train.limit": "80",
    "data.train.columns.text": "text",
    "data.train.columns.label": "label",
    "data.labels.nothate": "('0',)",
    "data.labels.hate": "('1',)",
    "data.max_length": "64",
    "model.architecture.d_model": "16",
    "model.architecture.d_ff": "16",
    "model.architecture.num_layers": "1",
    "tokenizer.vocab_size": "480",
    "batch.size": "16",
    "batch.buckets": "1",
    "train.steps": "3",
    "schedule.warmup_steps": "1",
    "evaluation.every_steps": "3",
    "checkpoint.every_steps": "3",
    "logging.tensorboard": "False",
}


@pytest.mark.slow
def test_a_bert_is_trained_and_transformers_loads_it(tmp_path):
    classifier.run(load_config("classifier.py:wikidetox", TINY), str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["classification"]["evaluation"]["rows"] == 16
    ours = load_text_classifier(tmp_path)
    assert ours.labels == ("hate", "nothate")
    texts = ["You are a fool.", "Thank you", ""]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    for text, logits in zip(texts, ours.logits(texts), strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        assert tokenizer.convert_ids_to_tokens(ids[0])[0] == "[CLS]"
        with torch.no_grad():
            np.testing.assert_allclose(logits, model.eval()(input_ids=ids).logits[0], atol=1e-4)
    assert {sample["p(hate)"] for sample in report["samples"]}


def test_texts_are_judged_to_a_length_of_their_own():
    """Not cut where those of the training were, but never further than the model's positions reach."""
    config = EncoderConfig(
        family="bert", vocab_size=8, d_model=8, d_ff=8, num_layers=1, num_heads=2, max_positions=64,
        labels=("a", "b"),
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_directory("nano"))
    loaded = LoadedClassifier(
        EncoderClassifier(config), ClassifierTokenizer(tokenizer, 32), None, None
    )

    def longest(**changes):
        changes = {name.replace("__", "."): value for name, value in changes.items()}
        recipe = load_config("classifier.py", {"data.max_length": "32", **changes})
        return classifier.judging(recipe, loaded).max_length

    assert longest() == 32
    assert longest(data__max_length="100") == 64
    assert longest(evaluation__max_length="48") == 48
    with pytest.raises(InputError, match="evaluation.max_length is 65, .* at most 64 tokens"):
        longest(evaluation__max_length="65")


def test_a_vocabulary_without_cls_is_refused(tmp_path):
    changes = TINY | {"tokenizer.user_defined_symbols": "()"}
    with pytest.raises(InputError, match=r"reads its answer off \[CLS\]; name that symbol"):
        classifier.run(load_config("classifier.py:wikidetox", changes), str(tmp_path))


SIZES = dict(vocab_size=0, d_model=8, d_ff=8, num_layers=1, num_heads=2)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_every_family_takes_texts_of_the_longest_length(family):
    vocabulary = load_vocabulary(model_directory("nano"))
    config = encoder_of({"family": family, **SIZES}, vocabulary, 96, ("a", "b"))
    assert config.max_length == 96 and config.vocab_size >= vocabulary.size
    assert config.labels == ("a", "b") and config.pad_token_id == vocabulary.pad_id


@pytest.mark.parametrize(
    "change, message",
    [
        ({"d_kv": 4}, "no such field as d_kv"),
        ({"family": "gpt"}, "family must be one of"),
        ({"num_heads": 3}, "does not divide"),
        ({"d_ff": None}, "d_ff must be a whole number"),
    ],
)
def test_what_no_encoder_has_is_named(change, message):
    vocabulary = load_vocabulary(model_directory("nano"))
    with pytest.raises(InputError, match=message):
        encoder_of({"family": "bert", **SIZES, **change}, vocabulary, 96, ("a", "b"))
