"""Paths of leaves."""

import collections

import jax

from t5x_lite.params.paths import flatten, map_with_path
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
