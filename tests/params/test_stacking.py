"""Unrolled and stacked layers: there and back, in the order of the numbers."""

import copy

import jax
import numpy as np

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.paths import flatten
from t5x_lite.params.stacking import is_stacked, stack, unstack

# Eleven layers: as text, layers_10 comes before layers_2.
CONFIG = T5Config(
    vocab_size=7,
    d_model=4,
    d_kv=2,
    d_ff=3,
    num_encoder_layers=11,
    num_decoder_layers=2,
    num_heads=2,
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)


def params():
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype),
        abstract_params(T5(CONFIG, Execution())),
    )


def test_stacked_layers_are_in_their_order():
    unrolled = params()
    stacked = stack(unrolled)
    kernels = stacked["encoder"]["layers"]["attention"]["query"]["kernel"]
    assert kernels.shape == (11, 4, 2, 2)
    for i in range(11):
        expected = unrolled["encoder"][f"layers_{i}"]["attention"]["query"]["kernel"]
        np.testing.assert_array_equal(kernels[i], expected)


def test_stacked_is_the_tree_of_a_scanned_model():
    shapes = {path: leaf.shape for path, leaf in flatten(stack(params())).items()}
    scanned = abstract_params(T5(CONFIG, Execution(scan_layers=True)))
    assert shapes == {path: leaf.shape for path, leaf in flatten(scanned).items()}


def test_there_and_back_is_bitwise_the_same():
    unrolled = params()
    back = unstack(stack(unrolled))
    assert jax.tree.structure(back) == jax.tree.structure(unrolled)
    for path, leaf in flatten(back).items():
        np.testing.assert_array_equal(leaf, flatten(unrolled)[path])
        assert leaf.dtype == flatten(unrolled)[path].dtype
    assert (is_stacked(unrolled), is_stacked(stack(unrolled)), is_stacked(back)) == (
        False,
        True,
        False,
    )


def test_the_given_tree_stays_as_it_is():
    unrolled = params()
    before = list(flatten(copy.deepcopy(unrolled)))
    stacked = stack(unrolled)
    assert list(flatten(unrolled)) == before
    before = list(flatten(stacked))
    unstack(stacked)
    assert list(flatten(stacked)) == before
