"""Parameters of a classifier or head: shapes first, then arrays; always as plain nested dicts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from t5x_lite import streams
from t5x_lite.models.t5_scorer import T5Scorer

Params = dict[str, Any]
Example = jax.Array | np.ndarray


def token_example() -> np.ndarray:
    """What a classifier is initialized with: int32 [1, 2]. No device's: those of a pod check hold no arrays."""
    return np.ones((1, 2), np.int32)


def hidden_example(d_model: int) -> jax.Array:
    """What a head on hidden states is initialized with: float32 [1, 1, embed]."""
    return jnp.zeros((1, 1, d_model))


def text_examples(module: nn.Module) -> tuple[np.ndarray, ...]:
    """An example for each text that a classifier or reward model reads: two for a prompt and a response."""
    return (token_example(),) * (2 if isinstance(module, T5Scorer) else 1)


def init_module(module: nn.Module, rng: jax.Array, *examples: Example) -> Params:
    """Random float32 parameters of a module that takes these arrays."""
    return _values(module.init(rng, *examples)["params"])


def init_jitted(module: nn.Module, rng: jax.Array, *examples: Example) -> Params:
    """`init_module` as one program: on a mesh, the example's single row could not be split op by op."""
    return jax.jit(lambda rng: init_module(module, rng, *examples))(rng)


def abstract_module(module: nn.Module, *examples: Example) -> tuple[Params, Params]:
    """Each parameter's `jax.ShapeDtypeStruct`, and its logical axis names; nothing is computed."""
    boxed = jax.eval_shape(lambda: module.init(streams.key(0, "init"), *examples)["params"])
    axes = jax.tree.map(lambda leaf: tuple(leaf.names), boxed, is_leaf=_is_box)
    return _values(boxed), axes


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)


def _values(tree: Any) -> Params:
    return jax.tree.map(lambda leaf: leaf.value, tree, is_leaf=_is_box)
