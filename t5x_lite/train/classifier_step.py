"""Train and evaluation steps of classifiers and reward models, in the form that the supervised loop runs.

Both read T5 batches: a text is the encoder's, and what it is judged by the decoder's. For a classifier that is the
label, one whole number a row; for a preference pair the rejected text (the chosen one is the encoder's), or, of a model
that reads prompt and response apart, both responses to the encoder's prompt (`data.preferences.PairPlan`). A row
without any loss weight only fills the batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.train.sections import WHOLE, Judgement, Thinning
from t5x_lite.train.thinning import thinned
from t5x_lite.train.update import (
    Batch,
    Metrics,
    Objective,
    Sums,
    TrainStep,
    counted_rows,
    make_update,
)

CROSS_ENTROPY, PREFERENCE = "cross_entropy", "preference"
_THINNING = (
    1  # what a step's rng is folded with to thin its texts; dropout draws from the rng itself
)


def judgement_sums(
    module: Any,
    params: Any,
    batch: Batch,
    rng: jax.Array | None,
    judgement: Judgement,
    thinning: Thinning = WHOLE,
) -> Sums:
    """Float32 sums over the rows of a batch: loss, nll (of the right label, or order), correct, weight.

    Dropout, and the thinning of labeled texts, act when `rng` is given; both texts of a pair are read with the same
    mask.
    """
    rngs = None if rng is None else {"dropout": rng}

    def logits(*inputs: jax.Array, method: str = "__call__") -> jax.Array:
        return module.apply({"params": params}, *inputs, rngs=rngs, method=method)

    weight = counted_rows(batch).astype(jnp.float32)
    if judgement.kind == CROSS_ENTROPY:
        labels = batch["decoder_target_tokens"][:, 0]
        tokens = batch["encoder_input_tokens"]
        if rng is not None:
            draw = jax.random.fold_in(rng, _THINNING)
            tokens = thinned(tokens, draw, module.config.pad_token_id, thinning)
        logs = jax.nn.log_softmax(logits(tokens), axis=-1)
        nll = -jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]
        loss, correct = nll, logs.argmax(axis=-1) == labels
    else:
        if isinstance(module, T5Scorer):
            prompts = batch["encoder_input_tokens"]
            ids = segment_ids_from_tokens(prompts, module.config.pad_token_id)
            encoded = logits(prompts, ids, method="encode")
            chosen, rejected = (
                logits(encoded, ids, batch[name], method="score")[:, 0]
                for name in ("decoder_target_tokens", "rejected_target_tokens")
            )
        else:
            chosen = logits(batch["encoder_input_tokens"])[:, 0]
            rejected = logits(batch["decoder_target_tokens"])[:, 0]
        difference = chosen - rejected
        nll = jax.nn.softplus(-difference)
        loss = jax.nn.softplus(judgement.margin - difference)
        loss = loss + judgement.center * jnp.square(chosen + rejected)
        correct = half_of_ties(difference)
    return {
        "loss": jnp.sum(loss * weight),
        "nll": jnp.sum(nll * weight),
        "correct": jnp.sum(correct * weight),
        "weight": jnp.sum(weight),
    }


def half_of_ties(difference: jax.Array) -> jax.Array:
    """Which pairs are in the right order, by chosen minus rejected: float32, 1 or 0; a tie is half right, as in the
    accuracy of the reports.
    """
    return jnp.where(difference == 0, 0.5, difference > 0)


def judging(module: Any, judgement: Judgement, thinning: Thinning = WHOLE) -> Objective:
    """The mean over the rows, thinned in training. Metrics: loss, nll, accuracy (means), rows."""

    def metrics(sums: Sums, total: jax.Array) -> Metrics:
        return {
            "loss": sums["loss"] / total,
            "nll": sums["nll"] / total,
            "accuracy": sums["correct"] / total,
            "rows": sums["weight"],
        }

    return Objective(
        lambda params, _, batch, rng: judgement_sums(
            module, params, batch, rng, judgement, thinning
        ),
        lambda batch: counted_rows(batch).astype(jnp.float32).sum(),
        metrics,
    )


def make_classifier_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    judgement: Judgement,
    *,
    accumulation: int = 1,
    thinning: Thinning = WHOLE,
) -> TrainStep:
    """`train.update.make_update` of `judging`: every parameter is trained."""
    objective = judging(module, judgement, thinning)
    return make_update(objective, optimizer, schedule, accumulation=accumulation)
