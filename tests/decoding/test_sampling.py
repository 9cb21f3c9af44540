"""Sampling: the right distribution, draws that belong to their row, and no recompilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from transformers.generation import logits_process as hf

from t5x_lite.decoding.sampling import row_keys, sample
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.models.config import T5Config

VOCAB = 20
CONFIG = T5Config(VOCAB, 8, 4, 8, 1, 1, 2, tie_word_embeddings=True, scale_decoder_outputs=True)


def test_draws_follow_the_filtered_distribution():
    rows = 20_000
    logits = jnp.asarray(np.random.default_rng(0).normal(size=VOCAB) * 2, jnp.float32)
    settings = GenerationSettings(
        max_new_tokens=2, do_sample=True, temperature=1.3, top_k=12, top_p=0.9, suppress_tokens=[1]
    )
    structure, values = prepare(settings, CONFIG, rows)
    decoded = jax.jit(
        lambda keys: sample(
            lambda tokens, position, cache: (jnp.broadcast_to(logits, (rows, VOCAB)), cache),
            (),
            structure,
            jax.tree.map(jnp.asarray, values),
            keys,
            with_logprobs=False,
        )
    )(row_keys(jax.random.key(0), jnp.arange(rows), 1))
    chain = hf.LogitsProcessorList(
        [
            hf.SuppressTokensLogitsProcessor([1]),
            hf.TemperatureLogitsWarper(1.3),
            hf.TopKLogitsWarper(12),
            hf.TopPLogitsWarper(0.9),
        ]
    )
    scores = chain(torch.zeros((1, 1), dtype=torch.long), torch.tensor(np.asarray(logits))[None])
    expected = scores[0].double().softmax(0).numpy()
    possible = expected > 0
    assert 3 < possible.sum() < 12
    for step in range(2):
        counts = np.bincount(decoded.tokens[:, step], minlength=VOCAB)
        assert counts[~possible].sum() == 0
        p = stats.chisquare(counts[possible], rows * expected[possible]).pvalue
        assert p > 1e-3
    pairs = np.asarray(decoded.tokens[:, 0]) * VOCAB + np.asarray(decoded.tokens[:, 1])
    table = np.bincount(pairs, minlength=VOCAB**2).reshape(VOCAB, VOCAB)[possible][:, possible]
    assert stats.chi2_contingency(table).pvalue > 1e-3, "the two steps' draws depend on each other"


def test_a_draw_belongs_to_its_row_and_not_to_its_batch(gated_pair):
    generate, params = gated_pair.generator.generate, gated_pair.params
    settings = GenerationSettings(
        max_new_tokens=12, do_sample=True, temperature=1.5, num_return_sequences=3
    )
    inputs, rng, ids = gated_pair.inputs(4, 12), jax.random.key(7), np.array([10, 11, 12, 13])
    whole = np.asarray(generate(params, inputs, settings, rng, row_ids=ids).tokens)
    order = np.array([3, 0, 2, 1])
    permuted = generate(params, inputs[order], settings, rng, row_ids=ids[order]).tokens
    np.testing.assert_array_equal(
        np.asarray(permuted).reshape(4, 3, -1), whole.reshape(4, 3, -1)[order]
    )
    alone = generate(params, inputs[2:3], settings, rng, row_ids=ids[2:3])
    np.testing.assert_array_equal(alone.tokens, whole[6:9])
    for pads in ((4, 0), (0, 4)):  # another bucket
        padded = generate(params, np.pad(inputs, ((0, 0), pads)), settings, rng, row_ids=ids)
        np.testing.assert_array_equal(padded.tokens, whole)
    assert len({tuple(row) for row in whole}) == 12, "samples of one input must differ"


def test_settings_and_seeds_do_not_recompile(gated_pair):
    generate, params = gated_pair.generator.generate, gated_pair.params
    inputs = gated_pair.inputs(4, 12)
    seen, compiled = set(), None
    for seed, changes in enumerate(
        [
            {},
            {"temperature": 0.3},
            {"top_k": 0},
            {"top_p": 0.5},
            {"temperature": np.array([0.1, 0.5, 1.0, 2.0]), "top_k": np.array([0, 1, 5, 50])},
            {"max_new_tokens": 31},
            {"min_new_tokens": 9},
        ]
    ):
        settings = GenerationSettings.from_mapping({"do_sample": True, **changes})
        tokens = generate(params, inputs, settings, jax.random.key(seed)).tokens
        seen.add(np.asarray(tokens).tobytes())
        compiled = compiled or gated_pair.generator.compilations
    assert gated_pair.generator.compilations == compiled
    assert len(seen) == 7


def test_one_candidate_left_is_greedy_whatever_the_seed(gated_pair):
    generate, params = gated_pair.generator.generate, gated_pair.params
    inputs = gated_pair.inputs(4, 12)
    greedy = generate(params, inputs, GenerationSettings())
    for changes in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        settings = GenerationSettings.from_mapping({"do_sample": True, **changes})
        sampled = generate(params, inputs, settings, jax.random.key(3))
        np.testing.assert_array_equal(sampled.tokens, greedy.tokens)


def test_bad_calls(gated_pair):
    generate, params = gated_pair.generator.generate, gated_pair.params
    inputs = gated_pair.inputs(4, 12)
    with pytest.raises(InputError, match="rng"):
        generate(params, inputs, GenerationSettings(do_sample=True))
    with pytest.raises(InputError, match="temperature has 3 values for a batch of 4"):
        settings = GenerationSettings(do_sample=True, temperature=np.ones(3))
        generate(params, inputs, settings, jax.random.key(0))
    with pytest.raises(InputError, match="suppress_tokens: token 96"):
        generate(params, inputs, GenerationSettings(suppress_tokens=[3, 96]))
    with pytest.raises(InputError, match="unstack"):
        generate({"decoder": {"layers": {}}}, inputs, GenerationSettings())
