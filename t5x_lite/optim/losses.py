"""Cross-entropy over the vocabulary, chunk by chunk: [batch, length, vocab] never exists."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Project = Callable[[jax.Array, jax.Array], jax.Array]  # (kernel, hidden) -> float32 logits
Sums = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class LossSettings:
    """label_smoothing: share of the target's probability spread evenly over the vocabulary.
    z_loss: weight of log(Z)**2, which keeps the logits from drifting (Mesh TensorFlow, T5X).
    chunk: decoder positions a chunk; 0 = all at once.
    """

    label_smoothing: float
    z_loss: float
    chunk: int


def _token_losses(
    logits: jax.Array, targets: jax.Array, weights: jax.Array, settings: LossSettings
) -> tuple[Sums, jax.Array]:
    """Sums over tokens, and the derivative of sums["loss"] by the logits."""
    smoothing, vocab = settings.label_smoothing, logits.shape[-1]
    is_target = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    is_target = is_target == targets[..., None]
    largest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    exponentials = jnp.exp(logits - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    log_z = (jnp.log(total) + largest)[..., 0]
    target_logit = jnp.sum(jnp.where(is_target, logits, 0.0), axis=-1)
    nll = log_z - target_logit
    loss = (1.0 - smoothing) * nll
    if smoothing:
        loss = loss + smoothing * (log_z - logits.mean(axis=-1))
    loss = loss + settings.z_loss * jnp.square(log_z)
    sums = {
        "loss": jnp.sum(loss * weights),
        "nll": jnp.sum(nll * weights),
        # The target holds the largest logit: no argmax, which would need a second pass in int32.
        "correct": jnp.sum((target_logit >= largest[..., 0]) * weights),
        "weight": jnp.sum(weights),
    }
    softmax_scale = (1.0 + 2.0 * settings.z_loss * log_z)[..., None] / total
    gradient = exponentials * softmax_scale - smoothing / vocab
    gradient = jnp.where(is_target, gradient - (1.0 - smoothing), gradient)
    return sums, gradient * weights[..., None]


def _chunks(x: jax.Array, chunk: int) -> jax.Array:
    """[batch, length, ...] -> [length / chunk, batch, chunk, ...], zeros behind a last short chunk."""
    short = -x.shape[1] % chunk
    x = jnp.pad(x, ((0, 0), (0, short)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], -1, chunk, *x.shape[2:]), 1, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 5))
def cross_entropy_sums(
    project: Project,
    kernel: jax.Array,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: LossSettings,
) -> Sums:
    """Weighted sums over all tokens; only sums["loss"] has a gradient (by kernel and hidden).

    The forward pass of a derivative computes the derivative of each chunk while its logits exist, so that the
    backward pass recomputes nothing (as Liger Kernel, arXiv:2410.10989, does).

    Args:
      project: (kernel, hidden) -> float32 logits [batch, chunk, vocab].
      kernel: whatever `project` takes first.
      hidden: [batch, length, embed].
      targets: int32 [batch, length].
      weights: float32 [batch, length], 0 for padding.

    Returns:
      float32 scalars: loss (label smoothing and z-loss in it), nll, correct, weight.
    """
    return _forward(project, kernel, hidden, targets, weights, settings, with_gradients=False)[0]


def _forward(
    project: Project,
    kernel: jax.Array,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: LossSettings,
    with_gradients: bool,
) -> tuple[Sums, tuple[jax.Array, jax.Array] | None]:
    length = hidden.shape[1]
    chunk = min(settings.chunk or length, length)

    def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
        sums, kernel_gradient = carry
        hidden_chunk, targets_chunk, weights_chunk = inputs
        if with_gradients:
            logits, pull = jax.vjp(project, kernel, hidden_chunk)
        else:
            logits = project(kernel, hidden_chunk)
        chunk_sums, gradient = _token_losses(logits, targets_chunk, weights_chunk, settings)
        sums = jax.tree.map(jnp.add, sums, chunk_sums)
        if not with_gradients:
            return (sums, None), None
        by_kernel, by_hidden = pull(gradient)
        return (sums, kernel_gradient + by_kernel.astype(jnp.float32)), by_hidden

    zeros = {name: jnp.zeros((), jnp.float32) for name in ("loss", "nll", "correct", "weight")}
    kernel_zeros = jnp.zeros(kernel.shape, jnp.float32) if with_gradients else None
    inputs = tuple(_chunks(x, chunk) for x in (hidden, targets, weights))
    carry: Any = (zeros, kernel_zeros)
    (sums, by_kernel), by_hidden = jax.lax.scan(body, carry, inputs)
    if not with_gradients:
        return sums, None
    by_hidden = jnp.moveaxis(by_hidden, 0, 1).reshape(hidden.shape[0], -1, hidden.shape[2])
    return sums, (by_kernel.astype(kernel.dtype), by_hidden[:, :length])


def _forward_rule(
    project: Project,
    kernel: jax.Array,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: LossSettings,
) -> tuple:
    return _forward(project, kernel, hidden, targets, weights, settings, with_gradients=True)


def _backward_rule(
    project: Project, settings: LossSettings, gradients: tuple, cotangents: Sums
) -> tuple:
    by_kernel, by_hidden = gradients
    scale = cotangents["loss"]
    return (
        by_kernel * scale.astype(by_kernel.dtype),
        by_hidden * scale.astype(by_hidden.dtype),
        None,
        None,
    )


cross_entropy_sums.defvjp(_forward_rule, _backward_rule)
