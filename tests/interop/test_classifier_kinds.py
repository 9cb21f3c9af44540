"""What a classifier's logits mean (problem_type), RoBERTa's relatives, and T5s of which the encoder is wanted."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers

from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.interop.classifiers import open_classifier, save_classifier
from t5x_lite.interop.hf import load_hf, open_encoder, open_hf
from t5x_lite.models.classifier_init import init_module, token_example
from t5x_lite.models.config import Execution
from t5x_lite.models.t5_classifier import T5Classifier
from tests.interop.conftest import SHAPE, UNTIED

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "you", "are", "a", "fool", "nice"]
TEXTS = ["you are a fool", "nice"]


def classifier(where, labels, **fields):
    where.mkdir()
    (where / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(where / "vocab.txt")).save_pretrained(where)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=1, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, initializer_range=0.5,
        id2label=dict(enumerate(labels)), **fields,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(where)
    return where


@pytest.mark.parametrize(
    "labels, kind",
    [
        (["toxic", "threat", "insult"], "multi_label_classification"),
        (["toxic", "threat", "insult"], "single_label_classification"),
        (["toxic", "threat", "insult"], None),
        (["stars"], "regression"),
        (["good"], None),
    ],
)
def test_what_logits_mean_is_what_the_pipeline_makes_of_them(tmp_path, labels, kind):
    where = classifier(tmp_path / "model", labels, problem_type=kind)
    pipe = transformers.pipeline("text-classification", str(where), top_k=None)
    expected = [{one["label"]: one["score"] for one in row} for row in pipe(TEXTS)]
    ours = load_text_classifier(where).probabilities(TEXTS)
    right = [[row[label] for label in labels] for row in expected]
    np.testing.assert_allclose(ours, right, atol=1e-5)
    # And on export.
    opened = open_classifier(where)
    save_classifier(tmp_path / "out", opened.module, opened.read())
    fields = json.loads((tmp_path / "out" / "config.json").read_text())
    assert fields["problem_type"] == kind
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert again.config.problem_type == kind
    # A head that is trained here excludes: one label of several.
    assert open_classifier(where, labels=tuple(labels)).module.config.problem_type == ""


def test_a_problem_of_another_kind_is_refused(tmp_path):
    where = classifier(tmp_path / "model", ["a", "b"])
    fields = json.loads((where / "config.json").read_text()) | {"problem_type": "ranking"}
    (where / "config.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match="problem_type must be one of .*got 'ranking'"):
        open_classifier(where)


@pytest.mark.parametrize("kind", ["XLMRoberta", "Camembert"])
def test_robertas_by_other_names(tmp_path, kind):
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=34, pad_token_id=1, type_vocab_size=1,
        initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path / "model")
    opened = open_classifier(tmp_path / "model")
    tokens = np.random.default_rng(0).integers(3, 60, (2, 9))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    params = opened.read()
    logits = opened.module.apply({"params": params}, tokens.astype(np.int32))
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    save_classifier(tmp_path / "out", opened.module, params)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert type(again) is type(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


T5S = {"t5": "T5", "mt5": "MT5", "umt5": "UMT5"}
TOKENS = np.random.default_rng(0).integers(2, 96, (2, 7))


@pytest.mark.parametrize(
    "task", ["EncoderModel", "ForSequenceClassification", "ForTokenClassification", "Model",
             "ForConditionalGeneration"],
)  # fmt: skip
@pytest.mark.parametrize("kind", T5S)
def test_the_encoder_of_any_t5_is_read(tmp_path, kind, task):
    torch.manual_seed(0)
    config = getattr(transformers, f"{T5S[kind]}Config")(**SHAPE, **UNTIED)
    model = getattr(transformers, T5S[kind] + task)(config).eval()
    model.save_pretrained(tmp_path / "model")
    trunk = getattr(model, "transformer", model)
    with torch.no_grad():
        expected = trunk.encoder(input_ids=torch.tensor(TOKENS)).last_hidden_state.numpy()
    opened = open_classifier(tmp_path / "model", labels=("a", "b"))
    assert isinstance(opened.module, T5Classifier) and opened.new_head
    params = opened.read()

    def encode(module, tokens):
        return module.encoder(module.token_embedder(tokens), np.ones_like(tokens))

    states = opened.module.apply({"params": params}, TOKENS.astype(np.int32), method=encode)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(states, expected, atol=1e-4)
    if task in ("EncoderModel", "ForTokenClassification"):
        with pytest.raises(InputError, match=rf"no decoder \({T5S[kind]}{task}\)"):
            open_hf(tmp_path / "model")


def test_a_t5_without_a_head_of_ours_is_refused_where_it_shall_judge(tied_directory):
    with pytest.raises(InputError, match="without the head of a sequence classifier"):
        open_classifier(tied_directory)


def test_an_encoder_alone_has_the_weights_of_the_whole(tied_directory, tmp_path):
    whole = load_hf(tied_directory, param_dtype=None)[1]
    encoder = open_encoder(tied_directory).read(None)
    assert set(encoder) == {"token_embedder", "encoder"}
    jax.tree.map(np.testing.assert_array_equal, encoder, {n: whole[n] for n in encoder})


def test_a_classifier_of_our_own_is_loaded_in_silence(tmp_path, caplog, capfd):
    """transformers does not know our model_type, and would say so."""
    from t5x_lite.data.classifier_text import of_vocabulary
    from t5x_lite.data.vocabulary import load_vocabulary
    from t5x_lite.interop.hub import BUNDLED

    opened = open_hf(BUNDLED["nano"])
    module = T5Classifier(opened.config, ("score",), Execution())
    params = init_module(module, jax.random.key(0), token_example())
    tokenizer = of_vocabulary(load_vocabulary(BUNDLED["nano"]), 64)
    save_classifier(tmp_path / "own", module, params, tokenizer)
    transformers.utils.logging.enable_propagation()
    try:
        loaded = load_text_classifier(tmp_path / "own")
    finally:
        transformers.utils.logging.disable_propagation()
    assert "You are using a model of type" not in caplog.text + capfd.readouterr().err
    assert loaded.tokenizer.encode(["hello there"]) == tokenizer.encode(["hello there"])
