"""Log-probabilities and entropies of given tokens, chunk by chunk: [batch, length, vocab] never exists."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Project = Callable[[jax.Array, jax.Array], jax.Array]  # (kernel, hidden) -> float32 logits


def token_logprobs(
    project: Project, kernel: jax.Array, hidden: jax.Array, targets: jax.Array, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Of each target its log-probability, and of each position the entropy; both differentiable.

    The logits of a chunk are made again in the backward pass instead of being kept.

    Args:
      project: (kernel, hidden [batch, chunk, embed]) -> float32 logits [batch, chunk, vocab].
      hidden: [batch, length, embed]; hidden[:, t] predicts targets[:, t].
      targets: int32 [batch, length].
      chunk: positions at a time; 0 = all at once.

    Returns:
      float32 [batch, length] each, in nats.
    """

    def of_logs(logs: jax.Array, chosen: jax.Array) -> tuple[jax.Array, jax.Array]:
        return chosen, -jnp.sum(jnp.exp(logs) * logs, axis=-1)

    return _by_chunks(project, kernel, hidden, targets, chunk, of_logs)


def ranked_logprobs(
    project: Project, kernel: jax.Array, hidden: jax.Array, targets: jax.Array, *, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Of each target its log-probability, and whether no token is likelier: greedy decoding chooses it, ties aside.

    Args and shapes: as `token_logprobs`; the second is bool.
    """

    def of_logs(logs: jax.Array, chosen: jax.Array) -> tuple[jax.Array, jax.Array]:
        return chosen, chosen == jnp.max(logs, axis=-1)

    return _by_chunks(project, kernel, hidden, targets, chunk, of_logs)


def _by_chunks(
    project: Project,
    kernel: jax.Array,
    hidden: jax.Array,
    targets: jax.Array,
    chunk: int,
    of_logs: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
) -> tuple[jax.Array, jax.Array]:
    """Two numbers a position, [batch, length] each.

    of_logs: makes them of log-probabilities [batch, chunk, vocab], and of those of the targets [batch, chunk].
    """
    batch, length = targets.shape
    size = min(chunk or length, length)
    short = -length % size

    @jax.checkpoint
    def of_chunk(kernel: jax.Array, inputs: tuple) -> tuple[jax.Array, jax.Array]:
        piece, wanted = inputs
        logs = jax.nn.log_softmax(project(kernel, piece), axis=-1)
        chosen = jnp.take_along_axis(logs, wanted[..., None], axis=-1)[..., 0]
        return of_logs(logs, chosen)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, short)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(batch, -1, size, *x.shape[2:]), 1, 0)

    _, results = jax.lax.scan(
        lambda kernel, inputs: (kernel, of_chunk(kernel, inputs)),
        kernel,
        (split(hidden), split(targets)),
    )
    first, second = (
        jnp.moveaxis(x, 0, 1).reshape(batch, length + short)[:, :length] for x in results
    )
    return first, second
