"""How far a student's distributions over the vocabulary are from its teacher's, chunk by chunk: the logits of neither
ever exist for a whole batch.

Sources: Hinton et al. 2015 (arXiv:1503.02531): the temperature, and its square before the divergence, so that the
gradient's size does not depend on it; Agarwal et al. 2024 (arXiv:2306.13649): reverse and generalized divergences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite.optim.losses import Project, Sums, chunks, token_losses
from t5x_lite.optim.sections import LossSettings, TeachingSettings

FORWARD, REVERSE = "forward_kl", "reverse_kl"
# The log-probability of what cannot be: finite, so that its products with a probability of 0 are 0.
_NEVER = -1e9
# The teacher's arrays in a batch that brings them along (`Said`).
TOKENS, LOGPROBS = "teacher_tokens", "teacher_logprobs"


class Said(NamedTuple):
    """A teacher's distributions. tokens: int32 [..., k], those that are told apart; None: every token is.
    logprobs: float32 [..., vocab], or [..., k + 1]: of `tokens`, and of all others together.
    """

    tokens: jax.Array | None
    logprobs: jax.Array


def say(logits: jax.Array, settings: TeachingSettings) -> Said:
    """What is told of logits [..., vocab], at the temperature, of the `top_k` likeliest tokens."""
    logprobs = jax.nn.log_softmax(logits / settings.temperature, axis=-1)
    if not settings.top_k:
        return Said(None, logprobs)
    tokens = jax.lax.top_k(logprobs, min(settings.top_k, logprobs.shape[-1]))[1]
    return Said(tokens, told_apart(logprobs, tokens))


def told_apart(logprobs: jax.Array, tokens: jax.Array) -> jax.Array:
    """Of log-probabilities [..., vocab] those of `tokens` [..., k], and that of all others together: [..., k + 1].

    The others are summed as they are: one less what the tokens have would be lost to rounding where that is near one.
    """
    others = jnp.put_along_axis(logprobs, tokens, _NEVER, axis=-1, inplace=False)
    tail = jax.nn.logsumexp(others, axis=-1, keepdims=True)
    return jnp.concatenate([jnp.take_along_axis(logprobs, tokens, axis=-1), tail], axis=-1)


def divergence(teacher: jax.Array, student: jax.Array, settings: TeachingSettings) -> jax.Array:
    """Of log-probabilities of the same outcomes, [..., outcomes] each -> [...], nats, without the temperature's square.

    Where tokens are one outcome, this is a lower bound of the divergence over all tokens.
    """
    if settings.kind == FORWARD:
        return _kl(teacher, student)
    if settings.kind == REVERSE:
        return _kl(student, teacher)
    beta = settings.beta
    mixture = jnp.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    return beta * _kl(teacher, mixture) + (1.0 - beta) * _kl(student, mixture)


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def distillation_sums(
    project: Project,
    kernel: Any,
    positions: Mapping[str, jax.Array],
    said: Callable[[Mapping[str, jax.Array]], Said],
    loss: LossSettings,
    settings: TeachingSettings,
) -> Sums:
    """Weighted sums over all tokens, with a gradient by kernel and hidden.

    The logits of a chunk of `loss.chunk` positions are made again in the backward pass instead of being kept.

    Args:
      project: (kernel, hidden [batch, chunk, embed]) -> the student's float32 logits [batch, chunk, vocab].
      positions: [batch, length, ...] each: the student's `hidden`, `targets`, `weights` (0 for padding) and
        `label_weights` (0, too, where the targets are nobody's label); and what `said` reads.
      said: what the teacher says of a chunk of the positions.

    Returns:
      float32 scalars: loss = teacher_weight * temperature**2 * divergence + (1 - teacher_weight) * cross-entropy of
      the labels (with label smoothing and z-loss); divergence, nll, correct, weight.
    """
    length = positions["hidden"].shape[1]
    chunk = min(loss.chunk or length, length)
    share = settings.teacher_weight

    @jax.checkpoint
    def of_chunk(kernel: Any, piece: Mapping[str, jax.Array]) -> Sums:
        logits = project(kernel, piece["hidden"])
        heard = said(piece)
        logprobs = jax.nn.log_softmax(logits / settings.temperature, axis=-1)
        if heard.tokens is not None:
            logprobs = told_apart(logprobs, heard.tokens)
        apart = divergence(jax.lax.stop_gradient(heard.logprobs), logprobs, settings)
        sums, _ = token_losses(logits, piece["targets"], piece["weights"], loss)
        labels, _ = token_losses(logits, piece["targets"], piece["label_weights"], loss)
        sums["divergence"] = jnp.sum(apart * piece["weights"])
        scaled = settings.temperature**2 * sums["divergence"]
        sums["loss"] = share * scaled + (1.0 - share) * labels["loss"]
        return sums

    pieces = {name: chunks(array, chunk) for name, array in positions.items()}
    _, results = jax.lax.scan(
        lambda kernel, piece: (kernel, of_chunk(kernel, piece)), kernel, pieces
    )
    return {name: values.sum() for name, values in results.items()}
