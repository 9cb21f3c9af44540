"""A stacked model is optimized exactly as an unrolled one: each layer a parameter of its own."""

import typing

import jax
import numpy as np
import optax
import pytest

from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerName, OptimizerSettings
from t5x_lite.params.stacking import stack

OPTIMIZERS = typing.get_args(OptimizerName)

SHAPES = {
    "query": (130, 3, 4),
    "out": (3, 4, 130),
    "wi": (130, 128),  # large enough for Adafactor to factor
    "norm": (6,),
}


def layers(rng, scale):
    return {
        name: {
            "scale" if name == "norm" else "kernel": (scale * rng.normal(size=shape)).astype(
                np.float32
            )
        }
        for name, shape in SHAPES.items()
    }


def draw(seed):
    """Layers of very different scales: statistics over all of them at once would show."""
    rng = np.random.default_rng(seed)
    return {
        "token_embedder": {"embedding": rng.normal(size=(9, 6)).astype(np.float32)},
        "encoder": {
            **{f"layers_{i}": layers(rng, 10.0**-i) for i in range(3)},
            "encoder_norm": {"scale": np.ones(6, np.float32)},
        },
        "decoder": {f"layers_{i}": layers(rng, 1.0 + i) for i in range(2)},
    }


TREES = {
    "alone": (draw, stack),
    # As PPO has them: a policy, and a critic of its own.
    "policy and critic": (
        lambda seed: {
            "policy": draw(seed),
            "critic": draw(seed + 100),
            "value_head": {"kernel": np.full((6, 1), 1.0 + seed, np.float32)},
        },
        lambda tree: tree | {name: stack(tree[name]) for name in ("policy", "critic")},
    ),
}


def assert_near(one, other):
    """To 1e-6 of the array's largest element: products of matrices (muon's) round by that, and not by each one."""
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize(
    "name, tree",
    [
        *((name, "alone") for name in OPTIMIZERS),
        *(
            pytest.param(name, "policy and critic", marks=pytest.mark.slow)
            for name in ("adafactor", "muon")
        ),
    ],
)
def test_stacked_equals_unrolled(name, tree):
    tree_of, stacked_tree = TREES[tree]
    optimizer = make_optimizer(
        OptimizerSettings(
            name,
            b1=0.9,
            b2=0.98,
            eps=1e-8,
            weight_decay=0.1,
            no_weight_decay=(".*/scale", r".*encoder/layers_[02]/wi/.*"),
            clip_norm=1.0,
            # Of one layer among those that are stacked, too.
            rate_multipliers=((".*token_embedder/.*", 2.0), (r".*/layers_1/wi/kernel", 0.5)),
        ),
        lambda step: 0.1,
    )

    @jax.jit
    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    unrolled = tree_of(0)
    stacked = stacked_tree(unrolled)
    state, stacked_state = jax.jit(optimizer.init)(unrolled), jax.jit(optimizer.init)(stacked)
    for i in range(3):
        gradients = tree_of(i + 1)
        unrolled, state = step(unrolled, state, gradients)
        stacked, stacked_state = step(stacked, stacked_state, stacked_tree(gradients))
    jax.tree.map(assert_near, stacked, stacked_tree(unrolled))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_a_stack_is_a_stack_of_states(name):
    """As many numbers as the unrolled model's state has, but for counters."""
    optimizer = make_optimizer(
        OptimizerSettings(
            name,
            b1=0.9,
            b2=0.98,
            eps=1e-8,
            weight_decay=0.0,
            no_weight_decay=(),
            clip_norm=0.0,
            rate_multipliers=(),
        ),
        lambda step: 0.1,
    )
    params = draw(0)

    def numbers(params):
        leaves = jax.tree.leaves(jax.eval_shape(optimizer.init, params))
        return sum(leaf.size for leaf in leaves if leaf.size > 50)

    assert numbers(stack(params)) == numbers(params) > 0
