"""RoBERTa, BERT and DistilBERT classifiers against transformers' torch models with the same weights, in and out."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers

from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import (
    classifier_name_table,
    open_classifier,
    save_classifier,
)
from t5x_lite.models.classifier_init import abstract_module, init_module, token_example
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.params.paths import flatten

VOCAB = 60
FAMILIES = {
    "roberta": (
        transformers.RobertaConfig,
        transformers.RobertaForSequenceClassification,
        dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
             max_position_embeddings=34, pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "bert": (
        transformers.BertConfig,
        transformers.BertForSequenceClassification,
        dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
             max_position_embeddings=32, pad_token_id=0, type_vocab_size=2),
    ),
    "distilbert": (
        transformers.DistilBertConfig,
        transformers.DistilBertForSequenceClassification,
        dict(dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=32,
             pad_token_id=0),
    ),
}  # fmt: skip
LABELS = {0: "nothate", 1: "hate", 2: "unsure"}


@pytest.fixture(scope="module", params=FAMILIES)
def torch_model(request, tmp_path_factory):
    """A torch model with random weights (biases and norms too), and its directory."""
    torch.set_num_threads(1)
    config_class, model_class, sizes = FAMILIES[request.param]
    model = model_class(config_class(vocab_size=VOCAB, id2label=LABELS, **sizes)).eval()
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = 0.3 * rng.normal(size=parameter.shape)
            norm = "LayerNorm.weight" in name or "layer_norm.weight" in name
            parameter.copy_(torch.tensor(draw + norm, dtype=torch.float32))
    directory = tmp_path_factory.mktemp("classifier") / request.param
    model.save_pretrained(directory)
    return model, directory


def texts(pad):
    rng = np.random.default_rng(0)
    return [rng.integers(2, VOCAB, n) for n in (9, 4, 1, 30)], pad


def torch_alone(model, rows):
    """Each text alone: the answer that padding must not change."""
    with torch.no_grad():
        return np.concatenate(
            [model(input_ids=torch.tensor(row)[None]).logits.numpy() for row in rows]
        )


def padded(rows, pad, side):
    batch = np.full((len(rows), 30), pad, np.int32)
    for line, row in zip(batch, rows, strict=True):
        line[slice(0, len(row)) if side == "right" else slice(30 - len(row), 30)] = row
    return batch


@pytest.mark.parametrize("side", ["right", "left"])
def test_logits_equal_torch_whichever_side_is_padded(torch_model, side):
    model, directory = torch_model
    opened = open_classifier(directory)
    rows, pad = texts(model.config.pad_token_id)
    expected = torch_alone(model, rows)
    batch = padded(rows, pad, side)
    logits = jax.jit(opened.module.apply)({"params": opened.read()}, batch)
    assert logits.dtype == np.float32 and np.ptp(expected) > 1
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    if side == "right":
        with torch.no_grad():
            theirs = model(
                input_ids=torch.tensor(batch).long(), attention_mask=torch.tensor(batch != pad)
            )
        np.testing.assert_allclose(logits, theirs.logits.numpy(), atol=1e-4)


def test_a_text_as_long_as_the_position_table_fits(torch_model):
    model, directory = torch_model
    opened = open_classifier(directory)
    longest = opened.module.config.max_length
    assert longest == 32
    row = np.random.default_rng(1).integers(2, VOCAB, longest)
    logits = opened.module.apply({"params": opened.read()}, row[None].astype(np.int32))
    np.testing.assert_allclose(logits, torch_alone(model, [row]), atol=1e-4)


def test_gradients_equal_torch(torch_model):
    model, directory = torch_model
    opened = open_classifier(directory)
    params = opened.read()
    rows, pad = texts(model.config.pad_token_id)
    batch = padded(rows, pad, "right")
    weights = np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)
    grads = jax.grad(lambda p: (opened.module.apply({"params": p}, batch) * weights).sum())(params)
    model.zero_grad()
    mask = torch.tensor(batch != pad)
    logits = model(input_ids=torch.tensor(batch).long(), attention_mask=mask).logits
    (logits * torch.tensor(weights)).sum().backward()
    theirs = {name: p.grad for name, p in model.named_parameters()}
    ours = flatten(grads)
    scale = max(float(g.abs().max()) for g in theirs.values() if g is not None)
    for entry in classifier_name_table(opened.module.config):
        expected = theirs[entry.hf_name].numpy()
        got = entry.to_hf(np.asarray(ours[entry.path]))
        bound = 1e-4 * max(
            np.abs(expected).max(), 1e-2 * scale
        )  # keys' biases have none but for rounding
        assert np.max(np.abs(got - expected)) <= bound, entry.path


def test_files_in_the_format_of_roberta_hate_speech(torch_model, tmp_path):
    """pytorch_model.bin with what old transformers put there: position ids (whole numbers), and a pooler."""
    model, directory = torch_model
    family = model.config.model_type
    state = dict(model.state_dict())
    state[f"{family}.embeddings.position_ids"] = torch.arange(34)[None]
    if family == "roberta":
        state["roberta.pooler.dense.weight"] = torch.zeros(24, 24)
        state["roberta.pooler.dense.bias"] = torch.zeros(24)
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    for legacy in (False, True):
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
        opened = open_classifier(tmp_path)
        assert opened.module.labels == ("nothate", "hate", "unsure")
        batch = np.array([[5, 6, 7]], np.int32)
        logits = opened.module.apply({"params": opened.read()}, batch)
        np.testing.assert_allclose(
            logits, torch_alone(model, [batch[0].astype(np.int64)]), atol=1e-4
        )


def test_torch_loads_what_is_saved(torch_model, tmp_path):
    model, directory = torch_model
    opened = open_classifier(directory)
    params = jax.tree.map(lambda x: x + 0.01, opened.read())
    save_classifier(tmp_path / "out", opened.module, params)
    again, info = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert again.config.id2label == LABELS
    rows, _ = texts(model.config.pad_token_id)
    ours = [opened.module.apply({"params": params}, row[None].astype(np.int32))[0] for row in rows]
    np.testing.assert_allclose(ours, torch_alone(again.eval(), rows), atol=1e-4)


def test_files_that_do_not_fit_are_named(torch_model, tmp_path):
    model, directory = torch_model
    fields = json.loads((directory / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((directory / "model.safetensors").read_bytes())
    layers = "n_layers" if "n_layers" in fields else "num_hidden_layers"
    (tmp_path / "config.json").write_text(json.dumps(fields | {layers: 3}))
    with pytest.raises(InputError, match=r"only in the model: .*\.2\."):
        open_classifier(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(fields | {"model_type": "gpt2"}))
    with pytest.raises(InputError, match="model_type is 'gpt2'; expected a sequence classifier"):
        open_classifier(tmp_path)


def test_dropout_acts_with_a_key_alone(torch_model):
    _, directory = torch_model
    opened = open_classifier(directory)
    variables = {"params": opened.read()}
    batch = np.array([[5, 6, 7, 8]], np.int32)

    def logits(seed):
        return opened.module.apply(variables, batch, rngs={"dropout": jax.random.key(seed)})

    assert np.array_equal(logits(0), logits(0))
    assert not np.allclose(logits(0), logits(1))


@pytest.fixture(scope="module")
def t5_classifier():
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_encoder_layers=2, num_decoder_layers=1,
        num_heads=3, tie_word_embeddings=True, scale_decoder_outputs=True,
    )  # fmt: skip
    module = T5Classifier(config, ("score",), Execution())
    params = init_module(module, jax.random.key(0), token_example())
    params["head"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 1))
    return module, params


def test_t5_classifier_does_not_see_padding(t5_classifier):
    module, params = t5_classifier
    alone = module.apply({"params": params}, np.array([[5, 6, 7]], np.int32))
    for batch in ([[5, 6, 7, 0, 0]], [[0, 0, 5, 6, 7]]):
        padded_logits = module.apply({"params": params}, np.array(batch, np.int32))
        np.testing.assert_allclose(padded_logits, alone, rtol=1e-5)
    empty = module.apply({"params": params}, np.zeros((1, 4), np.int32))
    assert np.isfinite(empty).all()


def test_t5_classifier_survives_its_directory(t5_classifier, tmp_path):
    module, params = t5_classifier
    save_classifier(tmp_path, module, params)
    opened = open_classifier(tmp_path)
    assert opened.module == module
    jax.tree.map(np.testing.assert_array_equal, opened.read(), params)


def test_every_parameter_has_axes(torch_model):
    _, directory = torch_model
    abstract, axes = abstract_module(open_classifier(directory).module, token_example())
    shapes = jax.tree.map(lambda leaf: len(leaf.shape), abstract)
    ranks = jax.tree.map(len, axes, is_leaf=lambda x: isinstance(x, tuple))
    assert shapes == ranks
