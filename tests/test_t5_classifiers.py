"""Classifiers and reward models that begin with a T5 of any kind, before anything is trained."""

import jax
import numpy as np
import pytest
import transformers

from t5x_lite.config import load_config
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import BUNDLED
from t5x_lite.models.classifier_init import abstract_module, text_examples
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.shardings import param_shardings
from t5x_lite.wiring import classifier_training
from tests.interop.conftest import SHAPE, UNTIED


@pytest.fixture(scope="module")
def vocabulary():
    return load_vocabulary(BUNDLED["nano"])


def begun(directory, vocabulary, kind, labels=("score",)):
    config = load_config("reward.py", {"model.kind": kind, "model.attention": "einsum"})
    module, read = classifier_training._of_t5(config, directory, vocabulary, labels)
    shapes, axes = abstract_module(module, *text_examples(module))
    mesh = make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1])
    return module, read(param_shardings(shapes, axes, mesh))


@pytest.mark.parametrize("kind", ["MT5", pytest.param("UMT5", marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", ["EncoderModel", "ForConditionalGeneration"])
def test_a_relative_of_t5_begins_as_classifier_and_as_scorer(tmp_path, vocabulary, kind, task):
    sizes = {**SHAPE, **UNTIED, "vocab_size": 2048}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, kind + task)(config)
    model.save_pretrained(tmp_path)
    tokens = np.array([[5, 6, 1]], np.int32)
    module, params = begun(tmp_path, vocabulary, "encoder", ("a", "b"))
    assert module.apply({"params": params}, tokens).shape == (1, 2)
    shared = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(params["token_embedder"]["embedding"], shared)
    if task == "EncoderModel":
        with pytest.raises(InputError, match="no decoder"):
            begun(tmp_path, vocabulary, "encoder_decoder")
        return
    module, params = begun(tmp_path, vocabulary, "encoder_decoder")
    assert np.isfinite(module.apply({"params": params}, tokens, tokens)).all()
    assert "decoder" in params


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path, vocabulary):
    config = transformers.T5Config(**SHAPE)
    transformers.T5EncoderModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="embeds 96 tokens, but the tokenizer has 2048"):
        begun(tmp_path, vocabulary, "encoder")
