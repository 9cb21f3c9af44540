"""Relative position: every bucket against transformers, the bias against a plain gather."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from t5x_lite.models.relative_position import RelativePositionBias, distance_buckets

SHAPES = [(1, 1), (1, 7), (7, 1), (5, 9), (9, 5), (40, 40)]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (16, 40), (64, 512)])
def test_buckets_equal_transformers_at_every_distance(bidirectional, buckets, max_distance):
    distances = np.arange(-3000, 3001)
    ours = distance_buckets(
        distances,
        bidirectional=bidirectional,
        num_buckets=buckets,
        max_distance=max_distance,
    )
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(distances), bidirectional, buckets, max_distance
    )
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert ours.dtype == np.int32
    assert set(ours) == set(range(buckets)) - ({buckets // 2} if bidirectional else set())


@pytest.fixture(params=[True, False], ids=["bidirectional", "causal"])
def bias(request, config):
    return RelativePositionBias(config, bidirectional=request.param)


def table_of(config, seed=0):
    shape = (config.num_heads, config.relative_attention_num_buckets)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gathered(module, table, query_length, key_length):
    """[heads, query, key], looked up pair by pair."""
    buckets = distance_buckets(
        np.arange(key_length)[None, :] - np.arange(query_length)[:, None],
        bidirectional=module.bidirectional,
        num_buckets=module.config.relative_attention_num_buckets,
        max_distance=module.config.relative_attention_max_distance,
    )
    return table[:, buckets]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bias_equals_a_plain_gather(bias, config, shape):
    """Exactly; and its gradient, which a reshape of windows has to add up over diagonals."""
    table = table_of(config)
    cotangent = np.random.default_rng(1).normal(size=(config.num_heads, *shape))

    @jax.jit
    def both(table, cotangent):
        ours, pull = jax.vjp(
            lambda table: bias.apply({"params": {"rel_embedding": table}}, *shape), table
        )
        theirs, pull_theirs = jax.vjp(lambda table: gathered(bias, table, *shape), table)
        return ours, theirs, pull(cotangent)[0], pull_theirs(cotangent)[0]

    ours, theirs, gradient, their_gradient = both(table, cotangent.astype(np.float32))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(gradient, their_gradient, rtol=1e-5, atol=2e-5)


def test_bias_of_a_step_is_its_row_of_the_whole(bias, config):
    variables, length = {"params": {"rel_embedding": table_of(config)}}, 30
    whole = np.asarray(bias.apply(variables, length, length))
    step = jax.jit(lambda position: bias.apply(variables, position, length, method="step"))
    for position in range(length):
        np.testing.assert_array_equal(step(position), whole[:, position : position + 1])


def test_bias_is_float32_whatever_the_parameters_are(config):
    module = RelativePositionBias(config, bidirectional=True)
    table = table_of(config).astype(jnp.bfloat16)
    assert module.apply({"params": {"rel_embedding": table}}, 3, 3).dtype == jnp.float32
