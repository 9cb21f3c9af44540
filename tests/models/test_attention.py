"""The attention kernel against a loop in float64; beams against copies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.attention import Attention, attend, rowwise_attend
from t5x_lite.models.config import Execution

BATCH, HEADS, QUERY, KEY, KV = 2, 3, 4, 5, 6


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(BATCH, HEADS, QUERY, KV)).astype(np.float32)
    key_values = {
        name: rng.normal(size=(BATCH, HEADS, KEY, KV)).astype(np.float32)
        for name in ("key", "value")
    }
    bias = rng.normal(size=(HEADS, QUERY, KEY)).astype(np.float32)
    mask = rng.random((BATCH, QUERY, KEY)) < 0.6
    mask[..., 0] = True
    return query, key_values, bias, mask


def slowly(query, key_values, bias, mask):
    """One score at a time; no 1/sqrt(kv): T5 folds it into the query's kernel."""
    out = np.zeros(query.shape)
    for b, h, q in np.ndindex(query.shape[:3]):
        keys = [k for k in range(KEY) if mask is None or mask[b, q, k]]
        scores = np.array(
            [
                np.dot(query[b, h, q].astype(np.float64), key_values["key"][b, h, k])
                + (0 if bias is None else bias[h, q, k])
                for k in keys
            ]
        )
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out[b, h, q] = weights @ key_values["value"][b, h, keys]
    return out


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_attend_equals_a_loop(biased, masked):
    query, key_values, bias, mask = inputs()
    bias, mask = bias if biased else None, mask if masked else None
    ours = attend(jnp.asarray(query), key_values, bias, mask)
    np.testing.assert_allclose(ours, slowly(query, key_values, bias, mask), atol=1e-5)


def test_one_bias_row_serves_all_queries():
    query, key_values, bias, mask = inputs()
    ours = attend(jnp.asarray(query), key_values, bias[:, :1], mask)
    bias = np.broadcast_to(bias[:, :1], bias.shape)
    np.testing.assert_allclose(ours, slowly(query, key_values, bias, mask), atol=1e-5)


def test_a_row_without_keys_is_the_mean_of_the_values():
    """Finite, so that padding cannot turn a batch into NaN."""
    query, key_values, bias, mask = inputs()
    mask[1, 2] = False
    ours = attend(jnp.asarray(query), key_values, bias, mask)
    np.testing.assert_allclose(ours[1, :, 2], key_values["value"][1].mean(axis=1), atol=1e-6)


def test_bfloat16_scores_are_added_in_float32():
    """256 + 1 is 256 in bfloat16; the softmax has to see the difference."""
    query = jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    key = jnp.array([[[[256.0, 1.0], [256.0, 0.0]]]], jnp.bfloat16)
    value = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]], jnp.bfloat16)
    out = attend(query, {"key": key, "value": value}, None, None)
    expected = 1 / (1 + np.exp(-1))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out[0, 0, 0].astype(np.float32), [expected, 1 - expected], atol=4e-3)


@pytest.mark.parametrize("causal", [True, False])
def test_rowwise_equals_whole_with_gradients(causal):
    """Some rows here see no key: those too."""
    query, key_values, bias, _ = inputs()
    key_ids = np.array([[1, 1, 2, 2, 0], [0, 1, 1, 1, 1]], np.int32)
    query_ids = np.array([[1, 1, 2, 2], [0, 1, 1, 1]], np.int32)
    order = np.arange(QUERY)[:, None] >= np.arange(KEY)
    mask = query_ids[:, :, None] == key_ids[:, None, :]
    mask = mask & order if causal else mask
    cotangent = np.random.default_rng(1).normal(size=query.shape).astype(np.float32)

    def whole(query, key_values, bias):
        return attend(query, key_values, bias, mask)

    def rowwise(query, key_values, bias):
        return rowwise_attend(query, key_values, bias, query_ids, key_ids, causal=causal)

    @jax.jit
    def run(query, key_values, bias):
        result = []
        for function in (rowwise, whole):
            out, pull = jax.vjp(function, query, key_values, bias)
            result.append((out, pull(cotangent)))
        return result

    ours, theirs = run(query, key_values, bias)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5), ours, theirs)


def test_beams_share_the_keys_of_their_batch_row(config):
    """A step of batch x beams rows equals a step of as many batch rows with copied keys."""
    rng, beams = np.random.default_rng(0), 3
    attention = Attention(config, Execution())
    x = rng.normal(size=(BATCH * beams, 1, config.d_model)).astype(np.float32)
    shape = (BATCH, config.num_heads, KEY, config.d_kv)
    shared = {name: rng.normal(size=shape).astype(np.float32) for name in ("key", "value")}
    mask = np.array([[[1, 1, 0, 0, 1]], [[0, 1, 1, 1, 1]]], bool)
    bias = rng.normal(size=(config.num_heads, 1, KEY)).astype(np.float32)
    into_heads = (config.d_model, config.num_heads, config.d_kv)
    kernels = {"query": into_heads, "out": into_heads[1:] + into_heads[:1]}
    params = {
        name: {"kernel": rng.normal(size=shape).astype(np.float32)}
        for name, shape in kernels.items()
    }

    @jax.jit
    def step(key_values, mask):
        return attention.apply({"params": params}, x, key_values, bias, mask, method="step")

    copied = {name: np.repeat(array, beams, axis=0) for name, array in shared.items()}
    ours, theirs = step(shared, mask), step(copied, np.repeat(mask, beams, axis=0))
    assert ours.shape == (BATCH * beams, 1, config.d_model)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
