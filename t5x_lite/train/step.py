"""The train step of an encoder-decoder by teacher forcing, and its evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

from t5x_lite.models.t5 import T5, project
from t5x_lite.optim.losses import LossSettings, Sums, cross_entropy_sums
from t5x_lite.params.adapters import variables
from t5x_lite.train.state import Params
from t5x_lite.train.update import Batch, Metrics, Objective, TrainStep, make_update

# Decoder positions whose logits an evaluation holds at a time where no `loss.chunk` says it: of mT5's vocabulary
# those of a batch of 4,096 tokens would take 4 GB.
EVALUATION_CHUNK = 32


def hidden_states(
    model: T5, inputs: Params, batch: Batch, rng: jax.Array | None
) -> tuple[jax.Array, Any]:
    """The decoder's hidden states [batch, length, embed] of a T5 batch by teacher forcing, and what they are projected
    with; dropout acts when `rng` is given.

    inputs: of `params.adapters.variables`.
    """
    rngs = None if rng is None else {"dropout": rng}
    hidden: Any = model.apply(
        inputs,
        batch["encoder_input_tokens"],
        batch["decoder_input_tokens"],
        batch.get("encoder_segment_ids"),
        batch.get("decoder_segment_ids"),
        rngs=rngs,
        method="hidden",
    )
    return hidden, model.apply(inputs, hidden.shape[0], rngs=rngs, method="output_kernel")


def loss_sums(
    model: T5,
    params: Params,
    batch: Batch,
    rng: jax.Array | None,
    settings: LossSettings,
    adapters: Params | None = None,
) -> Sums:
    """Teacher-forced loss sums of a batch (see `optim.losses`); dropout acts when `rng` is given.

    batch: the keys of a T5 batch, each [batch, length]; segment ids optional.
    adapters: that act, in the layout of `params`.
    """
    hidden, kernel = hidden_states(model, variables(params, adapters), batch, rng)
    return cross_entropy_sums(
        functools.partial(project, model.config),
        kernel,
        hidden,
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        settings,
    )


def cross_entropy(model: T5, settings: LossSettings) -> Objective:
    """Teacher forcing: the mean over the weighted tokens.

    Metrics: loss, nll, accuracy (weighted means), tokens (sum of weights).
    """

    def metrics(sums: Sums, total: jax.Array) -> Metrics:
        return {
            "loss": sums["loss"] / total,
            "nll": sums["nll"] / total,
            "accuracy": sums["correct"] / total,
            "tokens": sums["weight"],
        }

    return Objective(
        lambda params, adapters, batch, rng: loss_sums(
            model, params, batch, rng, settings, adapters
        ),
        lambda batch: batch["decoder_loss_weights"].sum(),
        metrics,
    )


def make_train_step(
    model: T5,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: LossSettings,
    *,
    accumulation: int = 1,
    labels: Params | None = None,
) -> TrainStep:
    """`train.update.make_update` of the `cross_entropy`."""
    objective = cross_entropy(model, settings)
    return make_update(objective, optimizer, schedule, labels=labels, accumulation=accumulation)


def make_eval_step(model: T5, chunk: int = EVALUATION_CHUNK) -> Callable[..., Sums]:
    """Makes `eval_step(params, batch, adapters=None) -> {"loss_sum", "correct_sum", "weight_sum"}`, to be jitted; no
    dropout, no smoothing: the sums of plain negative log-likelihoods.

    chunk: decoder positions whose logits exist at a time; 0 = all at once.
    """
    settings = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=chunk)

    def eval_step(params: Params, batch: Batch, adapters: Params | None = None) -> Sums:
        sums = loss_sums(model, params, batch, None, settings, adapters)
        return {
            "loss_sum": sums["nll"],
            "correct_sum": sums["correct"],
            "weight_sum": sums["weight"],
        }

    return eval_step
