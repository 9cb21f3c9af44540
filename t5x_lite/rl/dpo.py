"""Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) of an encoder-decoder: loss and train step.

The reference is the policy before training. It does not change, so the log-probabilities that it gives the responses
are computed once, ahead, and come with the batch (`data.preferences.PairPlan`): no second model is held.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite.models.logprobs import token_logprobs
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5 import T5, project
from t5x_lite.params.adapters import variables
from t5x_lite.rl.sections import DPOSettings
from t5x_lite.train.classifier_step import half_of_ties
from t5x_lite.train.state import Params
from t5x_lite.train.update import (
    Batch,
    Metrics,
    Objective,
    Sums,
    TrainStep,
    counted_rows,
    make_update,
)

SIGMOID, IPO = "sigmoid", "ipo"


def dpo_losses(h: jax.Array, settings: DPOSettings) -> jax.Array:
    """The loss of each pair, float32 [rows], from its h."""
    if settings.kind == IPO:
        return jnp.square(h - 1 / (2 * settings.beta))
    s, x = settings.label_smoothing, settings.beta * h
    return (1 - s) * jax.nn.softplus(-x) + s * jax.nn.softplus(x)


def pair_logprobs(
    model: T5,
    params: Params,
    adapters: Params | None,
    batch: Batch,
    rng: jax.Array | None,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of the chosen and of the rejected responses, float32 [rows] each, sums over their tokens.

    The prompt is encoded once for both. Dropout acts when `rng` is given.
    """
    inputs = variables(params, adapters)
    keys = [None] * 3 if rng is None else list(jax.random.split(rng, 3))

    def apply(key: jax.Array | None, *arguments: Any, method: str) -> Any:
        rngs = None if key is None else {"dropout": key}
        return model.apply(inputs, *arguments, rngs=rngs, method=method)

    tokens = batch["encoder_input_tokens"]
    ids = segment_ids_from_tokens(tokens, model.config.pad_token_id)
    encoded = apply(keys[0], tokens, ids, method="encode")

    def of(prefix: str, key: jax.Array | None) -> jax.Array:
        hidden = apply(key, batch[f"{prefix}_input_tokens"], encoded, ids, method="decode")
        logprobs, _ = token_logprobs(
            functools.partial(project, model.config),
            apply(key, None if key is None else hidden.shape[0], method="output_kernel"),
            hidden,
            batch[f"{prefix}_target_tokens"],
            chunk=chunk,
        )
        return jnp.sum(logprobs * batch[f"{prefix}_loss_weights"], axis=1)

    return of("decoder", keys[1]), of("rejected", keys[2])


def dpo_sums(
    model: T5,
    params: Params,
    adapters: Params | None,
    batch: Batch,
    rng: jax.Array | None,
    settings: DPOSettings,
) -> Sums:
    """Float32 sums over the pairs of a batch: loss, correct (h > 0; a tie is half right), margin (beta h), the implicit
    rewards beta log(pi / ref) of both, and weight, the number of pairs.
    """
    chosen, rejected = pair_logprobs(model, params, adapters, batch, rng, settings.chunk)
    chosen = chosen - batch["reference_chosen"]
    rejected = rejected - batch["reference_rejected"]
    h = chosen - rejected
    weight = counted_rows(batch).astype(jnp.float32)
    return {
        "loss": jnp.sum(dpo_losses(h, settings) * weight),
        "correct": jnp.sum(half_of_ties(h) * weight),
        "margin": jnp.sum(settings.beta * h * weight),
        "chosen": jnp.sum(settings.beta * chosen * weight),
        "rejected": jnp.sum(settings.beta * rejected * weight),
        "weight": jnp.sum(weight),
    }


def means(sums: Sums, pairs: jax.Array | None = None) -> Metrics:
    """Of the sums of `dpo_sums`: loss, accuracy, margin, rewards/chosen, rewards/rejected, means over the pairs.

    pairs: how many there are; by default the sums' weight, at least 1.
    """
    rows = jnp.maximum(sums["weight"], 1.0) if pairs is None else pairs
    return {
        "loss": sums["loss"] / rows,
        "accuracy": sums["correct"] / rows,
        "margin": sums["margin"] / rows,
        "rewards/chosen": sums["chosen"] / rows,
        "rewards/rejected": sums["rejected"] / rows,
    }


def preference(model: T5, settings: DPOSettings, *, dropout: bool) -> Objective:
    """The mean over the pairs. Metrics: those of `means`, and pairs. dropout: whether it acts."""
    return Objective(
        lambda params, adapters, batch, rng: dpo_sums(
            model, params, adapters, batch, rng if dropout else None, settings
        ),
        lambda batch: counted_rows(batch).astype(jnp.float32).sum(),
        lambda sums, pairs: means(sums, pairs) | {"pairs": sums["weight"]},
    )


def make_dpo_step(
    model: T5,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: DPOSettings,
    *,
    dropout: bool,
    labels: Params | None,
    accumulation: int = 1,
) -> TrainStep:
    """`train.update.make_update` of the `preference`."""
    objective = preference(model, settings, dropout=dropout)
    return make_update(objective, optimizer, schedule, labels=labels, accumulation=accumulation)
