"""Cross-entropy over the vocabulary, chunk by chunk: [batch, length, vocab] never exists."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from t5x_lite.optim.sections import LossSettings

Project = Callable[[Any, jax.Array], jax.Array]  # (kernel, hidden) -> float32 logits
Sums = dict[str, jax.Array]


def token_losses(
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


def chunks(x: jax.Array, chunk: int) -> jax.Array:
    """[batch, length, ...] -> [length / chunk, batch, chunk, ...], zeros behind a last short chunk."""
    short = -x.shape[1] % chunk
    x = jnp.pad(x, ((0, 0), (0, short)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], -1, chunk, *x.shape[2:]), 1, 0)


def joined(pieces: jax.Array, length: int) -> jax.Array:
    """The inverse of `chunks`, of an array of this length."""
    x = jnp.moveaxis(pieces, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 5))
def cross_entropy_sums(
    project: Project,
    kernel: Any,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: LossSettings,
) -> Sums:
    """Weighted sums over all tokens; only sums["loss"] has a gradient (by kernel and hidden).

    Of a kernel that is not differentiated by (a frozen one, or a leaf of it), the gradient is not computed either.

    The forward pass of a derivative computes the derivative of each chunk while its logits exist, so that the
    backward pass recomputes nothing (as Liger Kernel, arXiv:2410.10989, does).

    Args:
      project: (kernel, hidden) -> float32 logits [batch, chunk, vocab].
      kernel: whatever `project` takes first: an array, or a pytree of them.
      hidden: [batch, length, embed].
      targets: int32 [batch, length].
      weights: float32 [batch, length], 0 for padding.

    Returns:
      float32 scalars: loss (label smoothing and z-loss in it), nll, correct, weight.
    """
    return _forward(project, kernel, hidden, targets, weights, settings, by=None)[0]


def _forward(
    project: Project,
    kernel: Any,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    settings: LossSettings,
    by: list[bool] | None,
) -> tuple[Sums, tuple[Any, jax.Array] | None]:
    """by: for each leaf of `kernel`, whether to differentiate by it; None: no gradients at all."""
    length = hidden.shape[1]
    chunk = min(settings.chunk or length, length)
    leaves, structure = jax.tree.flatten(kernel)
    moving = [leaf for leaf, moves in zip(leaves, by or [], strict=False) if moves]

    def with_kernel(values: list[jax.Array], hidden_chunk: jax.Array) -> jax.Array:
        given = iter(values)
        merged = [
            next(given) if moves else leaf for leaf, moves in zip(leaves, by or [], strict=True)
        ]
        return project(jax.tree.unflatten(structure, merged), hidden_chunk)

    def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
        sums, kernel_gradients = carry
        hidden_chunk, targets_chunk, weights_chunk = inputs
        if by is None:
            logits = project(kernel, hidden_chunk)
        else:
            logits, pull = jax.vjp(with_kernel, moving, hidden_chunk)
        chunk_sums, gradient = token_losses(logits, targets_chunk, weights_chunk, settings)
        sums = jax.tree.map(jnp.add, sums, chunk_sums)
        if by is None:
            return (sums, []), None
        by_kernel, by_hidden = pull(gradient)
        added = jax.tree.map(
            lambda total, new: total + new.astype(jnp.float32), kernel_gradients, by_kernel
        )
        return (sums, added), by_hidden

    zeros = {name: jnp.zeros((), jnp.float32) for name in ("loss", "nll", "correct", "weight")}
    kernel_zeros = [jnp.zeros(leaf.shape, jnp.float32) for leaf in moving]
    inputs = tuple(chunks(x, chunk) for x in (hidden, targets, weights))
    carry: Any = (zeros, kernel_zeros)
    (sums, by_kernel), by_hidden = jax.lax.scan(body, carry, inputs)
    if by is None:
        return sums, None
    given = iter(by_kernel)
    gradients = [
        next(given).astype(leaf.dtype) if moves else None
        for leaf, moves in zip(leaves, by, strict=True)
    ]
    return sums, (jax.tree.unflatten(structure, gradients), joined(by_hidden, length))


def _forward_rule(
    project: Project,
    kernel: Any,
    hidden: Any,
    targets: Any,
    weights: Any,
    settings: LossSettings,
) -> tuple:
    # With symbolic zeros each leaf says whether it is differentiated by.
    leaves, structure = jax.tree.flatten(kernel, is_leaf=_is_primal)
    return _forward(
        project,
        jax.tree.unflatten(structure, [leaf.value for leaf in leaves]),
        hidden.value,
        targets.value,
        weights.value,
        settings,
        by=[leaf.perturbed for leaf in leaves],
    )


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, jax.custom_derivatives.CustomVJPPrimal)


def _backward_rule(
    project: Project, settings: LossSettings, gradients: tuple, cotangents: Sums
) -> tuple:
    by_kernel, by_hidden = gradients
    scale = cotangents["loss"]
    if isinstance(scale, jax.custom_derivatives.SymbolicZero):
        scale = jnp.zeros((), jnp.float32)
    return (
        jax.tree.map(lambda gradient: gradient * scale.astype(gradient.dtype), by_kernel),
        by_hidden * scale.astype(by_hidden.dtype),
        None,
        None,
    )


cross_entropy_sums.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)
