"""Masks as literal matrices."""

import jax.numpy as jnp
import numpy as np

from t5x_lite.models.masks import attention_mask, segment_ids_from_tokens

X, o = True, False  # X: may attend


def mask_of(queries, keys, *, causal, lengths=None):
    queries, keys = (None if ids is None else jnp.array(ids) for ids in (queries, keys))
    query_length, key_length = lengths or (queries.shape[-1], keys.shape[-1])
    return attention_mask(
        queries, keys, causal=causal, query_length=query_length, key_length=key_length
    )


def test_padding_on_either_side_has_segment_zero():
    tokens = jnp.array([[7, 4, 1, 0], [0, 7, 4, 1]])
    np.testing.assert_array_equal(
        segment_ids_from_tokens(tokens, pad_token_id=0), [[1, 1, 1, 0], [0, 1, 1, 1]]
    )
    np.testing.assert_array_equal(
        segment_ids_from_tokens(jnp.array([3, 5]), pad_token_id=5), [1, 0]
    )


def test_encoder_with_padding():
    np.testing.assert_array_equal(
        mask_of([[1, 1, 0], [0, 1, 1]], [[1, 1, 0], [0, 1, 1]], causal=False),
        [
            [[X, X, o], [X, X, o], [o, o, X]],
            [[X, o, o], [o, X, X], [o, X, X]],
        ],
    )


def test_packed_encoder():
    np.testing.assert_array_equal(
        mask_of([1, 1, 2, 2, 0], [1, 1, 2, 2, 0], causal=False),
        [
            [X, X, o, o, o],
            [X, X, o, o, o],
            [o, o, X, X, o],
            [o, o, X, X, o],
            [o, o, o, o, X],
        ],
    )


def test_decoder_without_segments():
    np.testing.assert_array_equal(
        mask_of(None, None, causal=True, lengths=(3, 3)),
        [[X, o, o], [X, X, o], [X, X, X]],
    )


def test_packed_decoder():
    expected = [
        [X, o, o, o, o],
        [X, X, o, o, o],
        [o, o, X, o, o],
        [o, o, X, X, o],
        [o, o, o, o, X],
    ]
    ids = [1, 1, 2, 2, 0]
    np.testing.assert_array_equal(mask_of(ids, ids, causal=True), expected)
    np.testing.assert_array_equal(mask_of([ids], [ids], causal=True), [expected])


def test_cross_attention():
    np.testing.assert_array_equal(
        mask_of(None, [[1, 1, 1, 0], [0, 0, 1, 1]], causal=False, lengths=(2, 4)),
        [[[X, X, X, o], [X, X, X, o]], [[o, o, X, X], [o, o, X, X]]],
    )


def test_packed_cross_attention():
    np.testing.assert_array_equal(
        mask_of([1, 2, 2], [1, 1, 1, 2, 0], causal=False),
        [[X, X, X, o, o], [o, o, o, X, o], [o, o, o, X, o]],
    )


def test_nothing_to_mask():
    assert mask_of(None, None, causal=False, lengths=(2, 3)) is None
