"""Decoding with an adapter beside the parameters: what the merged model, or the slow way, decodes."""

import dataclasses

import jax
import numpy as np
import pytest

from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.lora import LoraSettings, merge
from t5x_lite.params.paths import map_with_path

CONFIG = T5Config(
    vocab_size=61, d_model=16, d_kv=4, d_ff=24, num_encoder_layers=1, num_decoder_layers=2,
    num_heads=3, tie_word_embeddings=False, scale_decoder_outputs=False, dropout_rate=0.1,
    feed_forward_proj="gated-gelu",
)  # fmt: skip
DORA = LoraSettings(((".*", 3),), alpha=6.0, dropout=0.1, rslora=True, dora=True)
SETTINGS = GenerationSettings.from_mapping({"max_new_tokens": 9}, where="x")


def drawn(tree, seed, scale):
    rng = np.random.default_rng(seed)
    return map_with_path(
        lambda path, x: np.asarray(x + scale * rng.normal(size=x.shape) * (x.ndim > 0), np.float32),
        tree,
    )


@pytest.fixture(scope="module")
def params():
    shapes = abstract_params(T5(CONFIG, Execution()))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    return map_with_path(lambda path, x: x + 1 if "scale" in path else x, drawn(zeros, 0, 0.4))


@pytest.fixture(scope="module")
def generator():
    return Generator(CONFIG, Execution(attention="einsum"))


TOKENS = np.random.default_rng(0).integers(2, 61, (4, 7)).astype(np.int32)


@pytest.mark.parametrize("num_beams", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_adapter_decodes_as_its_merged_model(params, generator, num_beams):
    settings = SETTINGS.updated({"num_beams": num_beams})
    adapters = drawn(DORA.init(params, jax.random.key(0)), 1, 0.2)
    adapted = generator.generate(params, TOKENS, settings, adapters=adapters)
    merged = generator.generate(merge(params, adapters), TOKENS, settings)
    np.testing.assert_array_equal(adapted.tokens, merged.tokens)
    base = generator.generate(params, TOKENS, settings)
    assert not np.array_equal(adapted.tokens, base.tokens)
    before = generator.compilations
    other = generator.generate(
        params, TOKENS, settings, adapters=drawn(DORA.init(params, jax.random.key(0)), 2, 0.2)
    )
    assert generator.compilations == before
    assert not np.array_equal(adapted.tokens, other.tokens)


def test_a_soft_prompt_decodes_as_step_by_step_without_a_cache(params, generator):
    prompt = {"soft_prompt": np.random.default_rng(3).normal(size=(3, 16)).astype(np.float32)}
    found = np.asarray(generator.generate(params, TOKENS, SETTINGS, adapters=prompt).tokens)
    model = T5(CONFIG, Execution(attention="einsum"))
    inputs = np.zeros((4, 10), np.int32)
    run = jax.jit(
        lambda tokens: model.apply({"params": params, "adapters": prompt}, TOKENS, tokens)
    )
    ended = np.zeros(4, bool)
    for step in range(9):
        token = np.argmax(np.asarray(run(inputs))[:, step], axis=-1)
        token = np.where(ended, 0, token)
        np.testing.assert_array_equal(found[:, step], token)
        ended |= token == 1
        inputs[:, step + 1] = token
    plain = generator.generate(params, TOKENS, SETTINGS).tokens
    assert not np.array_equal(found, plain)


def test_dropout_of_an_adapter_acts_in_training_alone(params):
    model = T5(dataclasses.replace(CONFIG, dropout_rate=0.0), Execution(attention="einsum"))
    settings = dataclasses.replace(DORA, dropout=0.5, dora=False)
    adapters = drawn(settings.init(params, jax.random.key(0)), 1, 0.2)
    variables = {"params": params, "adapters": adapters}
    run = jax.jit(lambda seed: model.apply(variables, TOKENS, TOKENS, rngs={"dropout": seed}))
    plain = jax.jit(lambda: model.apply(variables, TOKENS, TOKENS))()
    one, again, other = (np.asarray(run(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.max(np.abs(one - other)) > 1e-2 and np.max(np.abs(one - np.asarray(plain))) > 1e-2
