"""Parameters from a model: shapes first, then arrays; always as plain nested dicts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite import streams
from t5x_lite.models.t5 import T5

Params = dict[str, Any]


def _boxed(model: T5, rng: jax.Array) -> Any:
    tokens = jnp.zeros((1, 2), jnp.int32)
    return model.init(rng, tokens, tokens)["params"]


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)


def _unbox(tree: Any) -> Params:
    # Not `nn.unbox`, which would constrain the sharding of leaves that are only shapes.
    return jax.tree.map(lambda leaf: leaf.value, tree, is_leaf=_is_box)


def init_params(model: T5, rng: jax.Array) -> Params:
    """Random float32 parameters (T5's initialization, Mesh TensorFlow's standard deviations)."""
    return _unbox(_boxed(model, rng))


def abstract_params(model: T5) -> Params:
    """`jax.ShapeDtypeStruct` of every parameter; nothing is computed or allocated."""
    return _unbox(jax.eval_shape(lambda: _boxed(model, streams.key(0, "init"))))


def logical_axes(model: T5) -> Params:
    """The logical axis names of every parameter, a tuple of names a leaf."""
    boxed = jax.eval_shape(lambda: _boxed(model, streams.key(0, "init")))
    return jax.tree.map(lambda leaf: tuple(leaf.names), boxed, is_leaf=_is_box)
