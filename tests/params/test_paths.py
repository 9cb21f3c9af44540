"""Paths of leaves, and patterns on them."""

import collections

import jax
import pytest

from t5x_lite.errors import InputError
from t5x_lite.params.paths import flatten, map_with_path, matches_any
from t5x_lite.train.state import TrainState

TREE = {
    "encoder": {"layers_0": {"mlp": {"kernel": 1}, "norm": {"scale": 2}}, "norm": {"scale": 3}},
    "decoder": {"layers_0": {"mlp": {"kernel": 4}}},
}
Pair = collections.namedtuple("Pair", "mu nu")


def test_leaves_by_path_in_tree_order():
    assert list(flatten(TREE).items()) == [
        ("decoder/layers_0/mlp/kernel", 4),
        ("encoder/layers_0/mlp/kernel", 1),
        ("encoder/layers_0/norm/scale", 2),
        ("encoder/norm/scale", 3),
    ]
    assert list(flatten(TREE).values()) == jax.tree.leaves(TREE)


def test_paths_go_through_tuples_and_dataclasses():
    tree = TrainState(step=0, params={"a": 1}, opt_state=(Pair(2, [3, 4]),))
    assert flatten(tree) == {
        "step": 0,
        "params/a": 1,
        "opt_state/0/mu": 2,
        "opt_state/0/nu/0": 3,
        "opt_state/0/nu/1": 4,
    }


def test_map_hands_out_paths_and_the_leaves_of_other_trees():
    doubled = jax.tree.map(lambda leaf: 2 * leaf, TREE)
    result = map_with_path(lambda path, one, other: (path, one + other), TREE, doubled)
    assert result["encoder"]["norm"]["scale"] == ("encoder/norm/scale", 9)
    assert jax.tree.structure(result, is_leaf=lambda x: isinstance(x, tuple)) == jax.tree.structure(
        TREE
    )


def test_a_pattern_has_to_match_the_whole_path():
    assert flatten(matches_any(["encoder/.*", ".*/mlp/kernel"], TREE)) == {
        "decoder/layers_0/mlp/kernel": True,
        "encoder/layers_0/mlp/kernel": True,
        "encoder/layers_0/norm/scale": True,
        "encoder/norm/scale": True,
    }
    assert flatten(matches_any([r".*/layers_\d+/.*/scale"], TREE)) == {
        "decoder/layers_0/mlp/kernel": False,
        "encoder/layers_0/mlp/kernel": False,
        "encoder/layers_0/norm/scale": True,
        "encoder/norm/scale": False,
    }
    # Not found somewhere in it.
    tree = {"scale": 0, "norm": {"scale": 0, "scales": 0}}
    assert flatten(matches_any(["scale"], tree)) == {
        "norm/scale": False,
        "norm/scales": False,
        "scale": True,
    }
    assert not any(jax.tree.leaves(matches_any([], TREE)))


@pytest.mark.parametrize("pattern", ["kernel", "encoder", ".*/bias", "encoder/layers_1/.*"])
def test_a_pattern_without_a_match_is_an_error_that_lists_the_paths(pattern):
    with pytest.raises(InputError) as error:
        matches_any([".*/scale", pattern], TREE)
    assert repr(pattern) in str(error.value) and "encoder/layers_{n}/mlp/kernel" in str(error.value)
    assert "\n" not in str(error.value)
