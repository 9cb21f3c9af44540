"""Rules that say what is trained: first match, every leaf, no rule for nothing."""

import jax
import jax.numpy as jnp
import optax
import pytest

from t5x_lite.errors import InputError
from t5x_lite.optim.trainable import combine, partition_optimizer, trainable_part
from t5x_lite.params.partition import PRESETS, join, label, resolve_rules, separate

LEAF = jnp.ones(2)
TREE = {
    "token_embedder": {"embedding": LEAF},
    "encoder": {"layers_0": {"norm": {"scale": LEAF}, "mlp": {"kernel": LEAF}}},
    "decoder": {"layers_0": {"norm": {"scale": LEAF}, "mlp": {"kernel": LEAF}}},
}
ADAPTERS = {"encoder": {"layers_0": {"mlp": {"lora_a": LEAF, "lora_scaling": LEAF}}}}


def trained(rules, tree):
    labels = label(rules, tree, "train.trainable")
    paths = jax.tree_util.tree_leaves_with_path(labels)
    names = {"/".join(str(key.key) for key in path): value for path, value in paths}
    return {name for name, value in names.items() if value == "trainable"}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("encoder", {"encoder/layers_0/norm/scale", "encoder/layers_0/mlp/kernel"}),
        ("decoder", {"decoder/layers_0/norm/scale", "decoder/layers_0/mlp/kernel"}),
        ("norms", {"encoder/layers_0/norm/scale", "decoder/layers_0/norm/scale"}),
        ("adapters", {"adapters/encoder/layers_0/mlp/lora_a"}),
    ],
)
def test_presets(preset, expected):
    assert trained(PRESETS[preset], join(TREE, ADAPTERS)) == expected


def test_full_trains_all_but_an_adapters_constants():
    found = trained(PRESETS["full"], join(TREE, ADAPTERS))
    assert len(found) == 6 and not any(path.endswith("scaling") for path in found)


def test_the_first_match_wins():
    rules = ((".*/mlp/.*", "frozen"), ("encoder/.*", "trainable"), (".*", "frozen"))
    assert trained(rules, TREE) == {"encoder/layers_0/norm/scale"}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ((("encoder/.*", "trainable"),), "no rule matches"),
        ((("nothing", "trainable"), (".*", "frozen")), "'nothing' matches no path"),
        (((".*", "frozen"),), "nothing to train"),
        (PRESETS["adapters"], "'adapters/.*' matches no path"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(InputError, match=f"train.trainable.*{message}"):
        label(rules, TREE, "train.trainable")


@pytest.mark.parametrize(
    "value",
    [
        "some",
        ((".*", "learned"),),
        ((".*",),),
        (("(", "frozen"),),
        "()",
        "(1, 2)",
        "((1, 'frozen'),)",
    ],
)
def test_malformed_rules_are_refused(value):
    with pytest.raises(InputError, match="config.train.trainable"):
        resolve_rules(value, "config.train.trainable")


def test_rules_speak_of_canonical_paths_also_of_stacked_layers():
    stacked = {"encoder": {"layers": {"mlp": {"kernel": jnp.ones((2, 3))}}}}
    every = (("encoder/layers_[01]/mlp/kernel", "trainable"),)
    assert trained(every, stacked) == {"encoder/layers/mlp/kernel"}
    with pytest.raises(InputError, match="model.scan_layers"):
        label((("encoder/layers_0/.*", "trainable"), (".*", "frozen")), stacked, "x")


def test_joined_trees_separate_again():
    assert separate(join(TREE, ADAPTERS)) == (TREE, ADAPTERS)
    assert separate(join(TREE, {})) == (TREE, {})


def test_optax_masked_alone_would_hand_raw_gradients_on():
    """Why frozen leaves get set_to_zero: decision 5 of docs/architecture.md."""
    params, grads = {"a": LEAF, "b": LEAF}, {"a": 3 * LEAF, "b": 5 * LEAF}
    labels = {"a": "trainable", "b": "frozen"}
    alone = optax.masked(optax.sgd(0.1), {"a": True, "b": False})
    assert jnp.all(alone.update(grads, alone.init(params))[0]["b"] == 5)
    optimizer = partition_optimizer(optax.adam(0.1), labels)
    state = optimizer.init(params)
    assert len(jax.tree.leaves(state)) == 3  # one leaf's count, mu, nu
    updates, _ = optimizer.update(grads, state, params)
    assert jnp.all(updates["b"] == 0)
    part = trainable_part(params, labels)
    updates, _ = optimizer.update(trainable_part(grads, labels), state, part)
    after = combine(optax.apply_updates(part, updates), params)
    assert after["b"] is params["b"] and jnp.all(after["a"] < 1)
