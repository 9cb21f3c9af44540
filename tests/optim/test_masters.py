"""Weights kept in bfloat16 learn as float32 weights do."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from t5x_lite.optim.masters import MastersState, masters_in
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerName, OptimizerSettings
from t5x_lite.optim.trainable import partition_optimizer, trainable_part

STEPS = 40
OPTIMIZERS = typing.get_args(OptimizerName)


def optimizer(name="adamw", **changes):
    settings = dict(
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        weight_decay=0.1,
        no_weight_decay=(".*/scale",),
        clip_norm=0.0,
        rate_multipliers=(),
    )
    return make_optimizer(OptimizerSettings(name, **settings | changes), lambda step: 1e-4)


def draw(seed):
    """Numbers that bfloat16 holds exactly."""
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.bfloat16).astype(jnp.float32)

    return {
        "encoder": {
            "layers_0": {"mlp": {"wi": {"kernel": numbers(16, 24)}}, "norm": {"scale": numbers(24)}}
        }
    }


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def trained(transformation, params, gradients_of):
    @jax.jit
    def step(params, state, gradients):
        updates, state = transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(transformation.init)(params)
    for number in range(STEPS):
        params, state = step(params, state, gradients_of(number))
    return params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bfloat16_weights_are_those_of_a_float32_run_rounded(name):
    """Gradients in bfloat16, as they are of such weights. A rate of 1e-4 is below half a step of bfloat16 for most."""
    begin, changes = draw(0), dict(clip_norm=1.0, rate_multipliers=((".*/kernel", 2.0),))
    ours, state = trained(
        optimizer(name, **changes),
        cast(begin, jnp.bfloat16),
        lambda number: cast(draw(number + 1), jnp.bfloat16),
    )
    exact, _ = trained(optimizer(name, **changes), begin, lambda number: draw(number + 1))
    assert isinstance(state, MastersState)
    assert masters_in(("any", {"outer": state})) == 16 * 24 + 24
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }
    leaves = map(jax.tree.leaves, (ours, state.masters, exact, begin))
    for mine, master, other, first in zip(*leaves, strict=True):
        assert mine.dtype == jnp.bfloat16
        np.testing.assert_allclose(master, other, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(mine, master.astype(jnp.bfloat16))
        assert (np.asarray(master) != np.asarray(first)).mean() > 0.99


def test_masters_take_the_steps_of_torch():
    """The oracle's weights are float32, its gradients what bfloat16 rounds them to."""
    begin = draw(0)
    _, state = trained(
        optimizer(),
        cast(begin, jnp.bfloat16),
        lambda number: cast(draw(number + 1), jnp.bfloat16),
    )
    layer = begin["encoder"]["layers_0"]
    weights = [torch.tensor(np.asarray(layer["mlp"]["wi"]["kernel"]), requires_grad=True)]
    theirs = torch.optim.AdamW(weights, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    for number in range(STEPS):
        gradient = draw(number + 1)["encoder"]["layers_0"]["mlp"]["wi"]["kernel"]
        weights[0].grad = torch.tensor(np.asarray(gradient))
        theirs.step()
    ours = state.masters["encoder"]["layers_0"]["mlp"]["wi"]["kernel"]
    # Each of 40 additions rounds by up to 6e-8 of a weight; they moved by up to 4e-3.
    np.testing.assert_allclose(ours, weights[0].detach().numpy(), rtol=0, atol=1e-5)


def test_the_second_moment_decays():
    """In bfloat16 .999 of a number is that number."""
    params = cast(draw(0), jnp.bfloat16)
    zeros = jax.tree.map(jnp.zeros_like, params)
    first = cast(draw(1), jnp.bfloat16)
    _, state = trained(optimizer(), params, lambda number: first if number == 0 else zeros)
    nu = optax.tree_utils.tree_get(state, "nu")["encoder"]["layers_0"]["norm"]["scale"]
    gradient = np.asarray(draw(1)["encoder"]["layers_0"]["norm"]["scale"])
    np.testing.assert_allclose(nu, 0.001 * gradient**2 * 0.999 ** (STEPS - 1), rtol=1e-5)


def test_accumulated_float32_gradients_change_no_type_of_the_state():
    params = cast(draw(0), jnp.bfloat16)
    transformation = optimizer()
    state = transformation.init(params)
    _, after = transformation.update(draw(1), state, params)
    types = jax.tree.map(lambda leaf: leaf.dtype, state)
    assert types == jax.tree.map(lambda leaf: leaf.dtype, after)


def test_float32_adapters_over_a_frozen_bfloat16_base_have_no_masters():
    base, adapters = cast(draw(0), jnp.bfloat16), {"lora_a": jnp.ones((4, 2))}
    tree = base | {"adapters": adapters}
    labels = jax.tree.map(lambda _: "frozen", base) | {"adapters": {"lora_a": "trainable"}}
    plain = optimizer(no_weight_decay=())
    transformation = partition_optimizer(plain, labels)
    state = transformation.init(tree)
    assert masters_in(state) == 0
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 30
    part = trainable_part(tree, labels)
    updates, _ = transformation.update(part, state, part)
    alone, _ = plain.update(adapters, plain.init(adapters), adapters)
    np.testing.assert_array_equal(updates["adapters"]["lora_a"], alone["lora_a"])


def test_only_the_smaller_of_mixed_weights_have_masters():
    """A float32 head over a bfloat16 trunk: its updates are the optimizer's own."""
    tree = {"trunk": cast(draw(0), jnp.bfloat16), "head": {"kernel": jnp.ones((3, 2))}}
    transformation = optimizer(no_weight_decay=())
    state = transformation.init(tree)
    assert jax.tree.leaves(state.masters["head"]) == []
    gradients = jax.tree.map(jnp.ones_like, tree)
    updates, _ = transformation.update(gradients, state, tree)
    plain = optimizer(no_weight_decay=())
    alone, _ = plain.update(gradients["head"], plain.init(tree["head"]), tree["head"])
    np.testing.assert_array_equal(updates["head"]["kernel"], alone["kernel"])
