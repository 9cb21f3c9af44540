"""The small parts: embedding, RMS norm, projection kernels, feed-forward layer, dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.adapters import adapt, adapter_of, input_mask
from t5x_lite.models.axes import constrain, named
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.gathered import whole
from t5x_lite.models.precision import precision_for
from t5x_lite.params.integers import is_quantized

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": lambda x: nn.gelu(x, approximate=True),
    "gelu_erf": lambda x: nn.gelu(x, approximate=False),
    "silu": nn.silu,
}


def drop(module: nn.Module, x: jax.Array, rate: float, shared_axis: int = 1) -> jax.Array:
    """Dropout with one mask along `shared_axis`; acts when the caller gave a `dropout` rng.

    x: [batch, length, features] or [batch, heads, key, kv]. Sharing the mask (here over the length) is what T5X
    does: drawing it is then a negligible share of the step's work.
    """
    if rate == 0.0 or not module.has_rng("dropout"):
        return x
    shape = list(x.shape)
    shape[shared_axis] = 1
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, shape)
    return x * (keep.astype(x.dtype) / (1.0 - rate))


class Embedding(nn.Module):
    """Token embedding, [vocab, embed]; T5 does not scale it."""

    config: T5Config
    execution: Execution

    def setup(self) -> None:
        self.embedding = self.param(
            "embedding",
            named(nn.initializers.normal(self.config.initializer_factor), "vocab", "embed"),
            (self.config.vocab_size, self.config.d_model),
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """int32 [batch, length] -> [batch, length, embed] in the type of the residual sum."""
        table = self.embedding
        rows = table.rows(tokens) if is_quantized(table) else jnp.take(table, tokens, axis=0)
        x = rows.astype(self.execution.residual_dtype)
        return constrain(x, "batch", "length", "embed")


class RMSNorm(nn.Module):
    """Scale by the root mean square over `embed`, in float32; no mean, no bias."""

    config: T5Config
    execution: Execution

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, length, embed] -> the same."""
        scale = self.param(
            "scale",
            named(nn.initializers.ones_init(), "embed"),
            (x.shape[-1],),
        )
        x = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        y = x * jax.lax.rsqrt(mean_square + self.config.layer_norm_epsilon)
        y = y * scale.astype(jnp.float32)[(None,) * (x.ndim - 1)]
        return y.astype(self.execution.dtype)


class Projection(nn.Module):
    """A kernel of any rank, contracted over its leading axes with the trailing axes of the input; no bias. And its
    adapter, where the caller's `adapters` collection has one."""

    kernel_shape: Sequence[int]
    kernel_axes: Sequence[str]
    stddev: float
    dtype: str
    contracted: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., *kernel_shape[:contracted]] -> [..., *kernel_shape[contracted:]]."""
        kernel = self.param(
            "kernel",
            named(nn.initializers.normal(self.stddev), *self.kernel_axes),
            tuple(self.kernel_shape),
        )
        # Of the type that comes in: a float32 product in a float16 model is for its range.
        precision = precision_for(x.dtype)
        x = x.astype(self.dtype)
        y = jnp.tensordot(
            x,
            whole(kernel, self.dtype, *self.kernel_axes),
            axes=self.contracted,
            precision=precision,
        )
        if adapted := adapter_of(self):
            y = adapt(y, x, kernel, adapted, input_mask(self, adapted, x))
        return y


class FeedForward(nn.Module):
    """T5's feed-forward layer: wi, activation, wo; or wi_0 (activated) times wi_1, wo when gated."""

    config: T5Config
    execution: Execution

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, length, embed] -> the same."""
        config, dtype = self.config, self.execution.dtype
        activation = _ACTIVATIONS[config.activation]

        def project_in(name: str) -> jax.Array:
            shape, axes = (config.d_model, config.d_ff), ("embed", "mlp")
            stddev = config.initializer_factor * config.d_model**-0.5
            return Projection(shape, axes, stddev, dtype, name=name)(x)

        if config.is_gated:
            hidden = activation(project_in("wi_0")) * project_in("wi_1")
        else:
            hidden = activation(project_in("wi"))
        hidden = drop(self, constrain(hidden, "batch", "length", "mlp"), config.dropout_rate)
        # float16 holds up to 65,504, and the trained models' wo passes it (transformers #20287).
        out = Projection(
            (config.d_ff, config.d_model),
            ("mlp", "embed"),
            config.initializer_factor * config.d_ff**-0.5,
            self.execution.residual_dtype,
            name="wo",
        )(hidden)
        return constrain(out, "batch", "length", "embed")
