"""Encoders as the hub has them: bare, with other tasks' heads, old names, wrapped; and a real one."""

import logging

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import open_classifier

SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
KINDS = {
    "Bert": {**SIZES, "pad_token_id": 0},
    "Roberta": {**SIZES, "pad_token_id": 1},
    "DistilBert": dict(n_layers=2, n_heads=3, dim=24, hidden_dim=40, pad_token_id=0),
}
TASKS = (
    "Model",
    "ForMaskedLM",
    "ForQuestionAnswering",
    "ForTokenClassification",
    "ForMultipleChoice",
)
LABELS = ("hate", "nothate")
TOKENS = np.random.default_rng(0).integers(3, 60, (2, 9))


def make(kind, task, seed=0):
    """A torch model with random weights, norms and biases too."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=60, max_position_embeddings=32, **KINDS[kind]
    )
    model = getattr(transformers, kind + task)(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = 0.3 * rng.normal(size=parameter.shape)
            norm = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(torch.tensor(draw + norm, dtype=torch.float32))
    return model


def write(model, folder, rename=lambda name: name, drop=()):
    """The model as a directory, its tensors under other names."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    type(model.config).from_dict(config).save_pretrained(folder)
    state = {
        rename(name): tensor.clone()
        for name, tensor in model.state_dict().items()
        if not name.endswith(drop or ("decoder.weight", "decoder.bias", "vocab_projector.weight"))
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def hidden(opened, params, tokens=TOKENS):
    return opened.module.apply(
        {"params": params}, tokens.astype(np.int32), method=opened.module.encode
    )


def torch_hidden(model, tokens=TOKENS):
    trunk = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        return trunk(torch.tensor(tokens)).last_hidden_state.numpy()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_of_any_task_is_read_and_gets_a_new_head(tmp_path, caplog, kind, task):
    model = make(kind, task)
    folder = write(model, tmp_path / "model")
    with caplog.at_level(logging.INFO, "t5x_lite"):
        opened = open_classifier(folder, labels=LABELS)
    params = opened.read()
    np.testing.assert_allclose(hidden(opened, params), torch_hidden(model), atol=1e-4)
    assert opened.new_head and opened.module.labels == LABELS
    assert "head_out" in params and np.isfinite(params["head_out"]["kernel"]).all()
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    foreign = {
        "ForMaskedLM": {"Bert": "cls.predictions.bias", "Roberta": "lm_head.bias"}.get(
            kind, "vocab_layer_norm.bias"
        ),
        "ForQuestionAnswering": "qa_outputs.bias",
        # Dropped because it stands where the new head will be, but of another shape or task.
        "ForTokenClassification": "classifier.bias" if kind == "Roberta" else None,
        "ForMultipleChoice": "classifier.bias" if kind == "Roberta" else None,
    }.get(task, "roberta.pooler.dense.bias" if kind == "Roberta" else None)
    if foreign is None:
        assert not told
    else:
        assert len(told) == 1 and "passed over" in told[0] and foreign in told[0]
    news = [r.getMessage() for r in caplog.records if "to be trained" in r.getMessage()]
    assert len(news) == 1 and "\n" not in news[0]
    # BERT's pooler is part of the head, and read where the file has one, as from_pretrained does.
    if kind == "Bert" and task in ("Model", "ForMultipleChoice"):
        pooler = getattr(model, "bert", model).pooler.dense.weight.detach().numpy()
        np.testing.assert_array_equal(np.asarray(params["head_dense"]["kernel"]).T, pooler)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bare", [True, False])
def test_norms_by_their_old_names(tmp_path, kind, bare):
    model = make(kind, "Model" if bare else "ForSequenceClassification")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(name):
        for new, then in old.items():
            name = name.replace(new, then)
        return name

    folder = write(model, tmp_path / "model", rename)
    opened = open_classifier(folder, labels=LABELS if bare else None)
    params = opened.read()
    np.testing.assert_allclose(hidden(opened, params), torch_hidden(model), atol=1e-4)
    if not bare:
        with torch.no_grad():
            expected = model(torch.tensor(TOKENS)).logits.numpy()
        logits = opened.module.apply({"params": params}, TOKENS.astype(np.int32))
        np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"pretrained_model.{name}",
        lambda name: f"model.{name}",
        lambda name: name.replace("layer.0.", "layer.0._checkpoint_wrapped_module."),
    ],
)
@pytest.mark.parametrize("task", ["Model", "ForSequenceClassification"])
def test_wrappers_leave_their_names_and_nothing_else(tmp_path, wrap, task):
    model = make("Bert", task)
    folder = write(model, tmp_path / "model", wrap)
    opened = open_classifier(folder, labels=LABELS if task == "Model" else None)
    np.testing.assert_allclose(hidden(opened, opened.read()), torch_hidden(model), atol=1e-4)


def test_buffers_of_whole_numbers_are_no_weights(tmp_path):
    model = make("Roberta", "ForSequenceClassification")
    folder = write(model, tmp_path / "model")
    state = dict(model.state_dict())
    state["roberta.embeddings.position_ids"] = torch.arange(32)[None]
    state["roberta.embeddings.token_type_ids"] = torch.zeros(1, 32, dtype=torch.int64)
    state["scores.num_batches"] = torch.tensor(3)
    save_file(state, folder / "model.safetensors")
    np.testing.assert_allclose(
        hidden(open_classifier(folder), open_classifier(folder).read()),
        torch_hidden(model),
        atol=1e-4,
    )
    state["roberta.embeddings.LayerNorm.weight"] = torch.ones(24, dtype=torch.int8)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"LayerNorm.weight has type I8; weights must be floats"):
        open_classifier(folder)


def test_an_encoder_without_head_is_refused_where_it_shall_judge(tmp_path):
    folder = write(make("Bert", "Model"), tmp_path / "model")
    with pytest.raises(InputError, match=r"without the head .*BertModel.*classifier.weight"):
        open_classifier(folder)


def test_a_head_of_another_task_is_not_taken_for_ones_own(tmp_path):
    """Token classification calls its layer `classifier` too, and its labels may be those asked for."""
    model = make("Bert", "ForTokenClassification")
    model.config.id2label = dict(enumerate(LABELS))
    folder = write(model, tmp_path / "model")
    opened = open_classifier(folder, labels=LABELS)
    kernel = np.asarray(opened.read()["head_out"]["kernel"]).T
    assert opened.new_head and not np.allclose(kernel, model.classifier.weight.detach())
    again = make("Bert", "ForSequenceClassification")
    again.config.id2label = dict(enumerate(LABELS))
    kept = open_classifier(write(again, tmp_path / "own"), labels=LABELS)
    assert not kept.new_head
    np.testing.assert_array_equal(
        np.asarray(kept.read()["head_out"]["kernel"]).T, again.classifier.weight.detach()
    )


def test_what_is_missing_is_still_named(tmp_path):
    model = make("Bert", "Model")
    folder = write(model, tmp_path / "model", drop=("layer.1.output.dense.weight",))
    with pytest.raises(InputError, match="only in the model: bert.encoder.layer.1.output.dense"):
        open_classifier(folder, labels=LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_flax_files_of_encoders(tmp_path, kind):
    """Their biases and norms have names that T5's do not (`scale`, `bias`)."""
    from flax import serialization, traverse_util

    model = make(kind, "ForSequenceClassification")
    folder = write(model, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    flat = {}
    for name, tensor in model.state_dict().items():
        *path, last = name.split(".")
        array = tensor.numpy()
        if last == "weight":
            norm = "norm" in path[-1].lower()
            last = "scale" if norm else "embedding" if "embeddings" in path[-1] else "kernel"
            array = array.T if last == "kernel" else array
        flat[(*path, last)] = array
    tree = traverse_util.unflatten_dict(flat)
    (folder / "flax_model.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    opened = open_classifier(folder)
    with torch.no_grad():
        expected = model(torch.tensor(TOKENS)).logits.numpy()
    logits = opened.module.apply({"params": opened.read()}, TOKENS.astype(np.int32))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_real_minilm_has_the_hidden_states_that_torch_gives(minilm):
    from t5x_lite.data.classifier_text import load_classifier_tokenizer

    texts = [
        "The quick brown fox jumps over the lazy dog.",
        "Naïve café — 東京, 100 % 🙂",
        "word " * 90,
        "",
    ]
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)
    opened = open_classifier(minilm, labels=LABELS)
    ids = load_classifier_tokenizer(minilm, opened.module.config.max_length).encode(texts)
    assert ids == [theirs(text)["input_ids"] for text in texts]
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    params = opened.read()
    assert "kernel" in params["head_dense"]
    longest = max(map(len, ids))
    batch = np.array([row + [0] * (longest - len(row)) for row in ids], np.int32)
    states = np.asarray(hidden(opened, params, batch))
    for row, state in zip(ids, states, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([row])).last_hidden_state[0].numpy()
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(state[: len(row)], expected, atol=1e-4)
    pooler = model.pooler.dense.weight.detach().numpy()
    np.testing.assert_array_equal(np.asarray(params["head_dense"]["kernel"]).T, pooler)
    assert jax.tree.leaves(params)[0].dtype == np.float32
