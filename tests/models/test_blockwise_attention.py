"""Attention by blocks equals attention at once, bias table included, and its memory grows with the length alone."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.attention import attend, attention_of
from t5x_lite.models.blockwise_attention import blockwise_attend
from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params
from t5x_lite.models.masks import attention_mask
from t5x_lite.models.relative_position import BiasByDistance, RelativePositionBias
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh

BATCH, KV = 2, 6
ONE, TWO = (
    ([1] * 7 + [0] * 3, [0] * 2 + [1] * 8),
    ([1] * 4 + [2] * 5 + [0], [1, 2, 2, 3, 3, 3, 0, 0, 0, 0]),
)
# Queries, keys, their segment ids (None: all 1), causal, prefix; blocks are of 4, which divides no length here but one.
CASES = {
    "nothing masked": (10, 10, None, None, False, 0),
    "pads on either side": (10, 10, ONE, ONE, False, 0),
    "packed": (10, 10, TWO, TWO, False, 0),
    "causal": (10, 10, None, None, True, 0),
    "causal, packed": (10, 10, TWO, TWO, True, 0),
    "prefix": (10, 10, ONE, ONE, True, 5),
    "cross": (5, 10, None, ONE, False, 0),
    "cross, packed, queries without keys": (5, 10, ([1, 2, 3, 3, 4], [5] * 5), TWO, False, 0),
    "causal, queries without keys": (8, 10, ([3] * 8, [0, 0, 0, 1, 1, 1, 1, 1]), ONE, True, 0),
    "one query": (1, 10, None, ONE, False, 0),
    "one key": (10, 1, None, None, False, 0),
    "far apart": (62, 62, None, None, False, 0),
    "far behind": (62, 62, None, None, True, 0),
}  # fmt: skip


def inputs(config, queries, keys, dtype=np.float32, seed=0):
    """Query, key and value, and the bias table."""
    rng = np.random.default_rng(seed)
    shape = (config.num_heads, config.relative_attention_num_buckets)
    arrays = [rng.normal(size=(BATCH, config.num_heads, n, KV)) for n in (queries, keys, keys)]
    return *(array.astype(dtype) for array in arrays), rng.normal(size=shape).astype(np.float32)


def value_and_gradients(attention, arrays, cotangent):
    @jax.jit
    def run(*arrays):
        out, pull = jax.vjp(attention, *arrays)
        return out, pull(cotangent.astype(out.dtype))

    return run(*arrays)


def both(config, queries, keys, query_ids, key_ids, causal, prefix, dtype=np.float32):
    """(output, gradients) by blocks, and at once."""
    module = RelativePositionBias(config, bidirectional=not causal)
    query_ids, key_ids = (None if ids is None else jnp.asarray(ids) for ids in (query_ids, key_ids))
    if queries == keys:
        key_ids = query_ids  # the same array, as in self-attention: blocks ahead are then left out
    mask = attention_mask(
        query_ids, key_ids, causal=causal, query_length=queries, key_length=keys, prefix_length=prefix
    )  # fmt: skip

    def of(table, method):
        variables = {"params": {"rel_embedding": table}}
        return module.apply(variables, queries, keys, method=method)

    def by_blocks(query, key, value, table):
        bias = BiasByDistance(of(table, "by_distance"), config.relative_attention_max_distance)
        return blockwise_attend(
            query, {"key": key, "value": value}, bias, query_ids, key_ids,
            causal=causal, prefix_length=prefix, block=4,
        )  # fmt: skip

    def at_once(query, key, value, table):
        return attend(query, {"key": key, "value": value}, of(table, "__call__"), mask)

    arrays = inputs(config, queries, keys, dtype)
    cotangent = np.random.default_rng(1).normal(size=arrays[0].shape).astype(np.float32)
    return tuple(value_and_gradients(f, arrays, cotangent) for f in (by_blocks, at_once))


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_at_once(config, case):
    """Of queries, keys, values and the table of buckets, under every kind of mask."""
    ours, theirs = both(config, *CASES[case])
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=2e-5), ours, theirs)


def test_a_query_without_keys_takes_the_mean_of_all_values(config):
    """Over the filled up block, too; and it pulls on the values alone."""
    query, key, value, _ = inputs(config, 5, 10)
    ids = jnp.zeros((BATCH, 10), jnp.int32)

    def by_blocks(query, key, value):
        key_values = {"key": key, "value": value}
        return blockwise_attend(query, key_values, None, None, ids, causal=False, block=4)

    out, gradients = value_and_gradients(by_blocks, (query, key, value), np.ones_like(query))
    expected = np.broadcast_to(value.mean(axis=2, keepdims=True), out.shape)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_array_equal(gradients[0], np.zeros_like(query))
    np.testing.assert_array_equal(gradients[1], np.zeros_like(key))
    np.testing.assert_allclose(gradients[2], np.full_like(value, 5 / 10), rtol=1e-6)


def test_large_scores_neither_overflow_nor_vanish(config):
    """Scores near +-3,000, and the largest of them last: what was summed up before is scaled down."""
    query, key, value, table = inputs(config, 5, 10)
    query, key = 100 * query, 10 * key
    key[..., -1, :] = 100 * query[..., 0, :] / np.linalg.norm(query[..., 0, :], axis=-1)[..., None]
    key_values = {"key": key, "value": value}
    ours = blockwise_attend(query, key_values, None, None, None, causal=False, block=4)
    np.testing.assert_allclose(ours, attend(query, key_values, None, None), atol=1e-5)
    np.testing.assert_allclose(ours[..., 0, :], value[..., -1, :], atol=1e-5)


def test_bfloat16_sums_in_float32(config):
    """As near to float32 as attention at once is; with sums in bfloat16 a row of 600 would be off by 1."""
    (ours, _), (theirs, _) = both(config, *CASES["packed"], dtype=jnp.bfloat16)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=3e-2
    )
    length = 600
    query = jnp.zeros((1, 1, 1, 2), jnp.bfloat16)
    key_values = {name: jnp.ones((1, 1, length, 2), jnp.bfloat16) for name in ("key", "value")}
    out = blockwise_attend(query, key_values, None, None, None, causal=False, block=1)
    np.testing.assert_array_equal(out.astype(np.float32), np.ones((1, 1, 1, 2)))


def test_what_lies_ahead_is_not_computed(config):
    """Of 5 x 5 blocks of a causal row, 15; with a prefix of two blocks, three more."""

    def pairs(prefix_length):
        q = jnp.zeros((1, 1, 20, 2))
        jaxpr = jax.make_jaxpr(
            lambda q: blockwise_attend(
                q,
                {"key": q, "value": q},
                None,
                None,
                None,
                causal=True,
                prefix_length=prefix_length,
                block=4,
            )  # fmt: skip
        )(q)
        return str(jaxpr)

    assert "length=15" in pairs(0) and "length=16" in pairs(8)


def peak(config, execution, length):
    """Bytes that the compiler gives the gradient of a model of one layer a stack, from shapes alone."""
    config = dataclasses.replace(config, num_encoder_layers=1, num_decoder_layers=1)
    model = T5(config, execution)
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def value(params, tokens):
        return jnp.sum(model.apply({"params": params}, tokens, tokens, method="hidden") ** 2)

    compiled = jax.jit(jax.grad(value)).lower(abstract_params(model), tokens).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("changes", "lengths"),
    [
        pytest.param({}, (512, 4096, 16384), marks=pytest.mark.slow),
        # What does not depend on the parameters, such as masks, a scan would keep for all pairs of blocks at once.
        ({"scan_layers": True, "remat": "full"}, (4096, 16384)),
    ],
    ids=str,
)
def test_memory_grows_with_the_length_alone(config, changes, lengths):
    """At 16,384 tokens one array of queries by keys, a byte each, would be 268 MB."""
    execution = Execution(attention="blockwise", **changes)
    peaks = [peak(config, execution, length) for length in lengths]
    assert peaks[-1] < 268e6 / 2
    for (short, small), (long, large) in itertools.pairwise(zip(lengths, peaks, strict=True)):
        assert large <= 1.05 * small * long / short, f"from {short} to {long} tokens"


def test_auto_takes_blocks_for_long_texts_alone(monkeypatch):
    auto = Execution()
    assert attention_of(auto, 2048, 2048) == "blockwise"
    assert attention_of(auto, 1024, 4096) == "blockwise"
    assert attention_of(auto, 128, 16384) == "rowwise"  # these scores are as linear as the keys
    assert attention_of(auto, 1536, 1536) == "rowwise"
    with jax.set_mesh(make_mesh({"data": 2, "fsdp": 1, "model": 1}, jax.devices()[:2])):
        assert attention_of(auto, 1536, 1536) == "einsum"
        assert attention_of(auto, 2048, 2048) == "blockwise"
    with jax.set_mesh(make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1])):
        assert attention_of(auto, 1536, 1536) == "rowwise"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert attention_of(auto, 1536, 1536) == "einsum"
    assert attention_of(Execution(attention="rowwise"), 4096, 4096) == "rowwise"
