"""Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) of an encoder-decoder: loss and train step.

The reference is the policy before training. It does not change, so the log-probabilities that it gives the responses
are computed once, ahead, and come with the batch (`data.preferences.PairPlan`): no second model is held.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite.models.logprobs import token_logprobs
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5 import T5, project
from t5x_lite.optim.trainable import combine, trainable_part
from t5x_lite.params.adapters import variables
from t5x_lite.params.partition import join, separate
from t5x_lite.rl.sections import DPOSettings
from t5x_lite.train.state import Params, TrainState
from t5x_lite.train.step import Batch, Metrics

SIGMOID, IPO = "sigmoid", "ipo"
Sums = dict[str, jax.Array]


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
    """Float32 sums over the pairs of a batch: loss, correct (h > 0), margin (beta h), the implicit rewards
    beta log(pi / ref) of both, and weight, the number of pairs.
    """
    chosen, rejected = pair_logprobs(model, params, adapters, batch, rng, settings.chunk)
    chosen = chosen - batch["reference_chosen"]
    rejected = rejected - batch["reference_rejected"]
    h = chosen - rejected
    weight = (batch["decoder_loss_weights"].sum(axis=1) > 0).astype(jnp.float32)
    return {
        "loss": jnp.sum(dpo_losses(h, settings) * weight),
        "correct": jnp.sum((h > 0) * weight),
        "margin": jnp.sum(settings.beta * h * weight),
        "chosen": jnp.sum(settings.beta * chosen * weight),
        "rejected": jnp.sum(settings.beta * rejected * weight),
        "weight": jnp.sum(weight),
    }


def means(sums: Sums) -> Metrics:
    """Of the sums of `dpo_sums`: loss, accuracy, margin, rewards/chosen, rewards/rejected, means over the pairs."""
    rows = jnp.maximum(sums["weight"], 1.0)
    return {
        "loss": sums["loss"] / rows,
        "accuracy": sums["correct"] / rows,
        "margin": sums["margin"] / rows,
        "rewards/chosen": sums["chosen"] / rows,
        "rewards/rejected": sums["rejected"] / rows,
    }


def make_dpo_step(
    model: T5,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: DPOSettings,
    *,
    dropout: bool,
    labels: Params | None,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
    """Makes `train_step(state, batch, base_rng) -> (state, metrics)`, to be jitted with the state donated.

    As `train.step.make_train_step`, whose labels and optimizer these are: frozen leaves get no gradient, dropout, if it
    acts, draws from `fold_in(base_rng, state.step)`, and a step that is not finite changes nothing but its number.

    Metrics: those of `means`, and pairs, grad_norm, param_norm, learning_rate, skipped.
    """

    def train_step(
        state: TrainState, batch: Batch, base_rng: jax.Array
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(base_rng, state.step) if dropout else None
        whole = join(state.params, state.adapters)
        part = whole if labels is None else trainable_part(whole, labels)

        def loss(part: Params) -> tuple[jax.Array, Sums]:
            params, adapters = separate(combine(part, whole))
            sums = dpo_sums(model, params, adapters, batch, rng, settings)
            return means(sums)["loss"], sums

        (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(part)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, part)
        finite = jnp.isfinite(norm) & jnp.isfinite(value)
        part, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (optax.apply_updates(part, updates), opt_state),
            (part, state.opt_state),
        )
        params, adapters = separate(combine(part, whole))
        metrics = means(sums) | {
            "pairs": sums["weight"],
            "grad_norm": norm,
            "param_norm": optax.tree.norm(part),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "skipped": 1.0 - finite.astype(jnp.float32),
        }
        new = TrainState(step=state.step + 1, params=params, opt_state=opt_state, adapters=adapters)
        return new, metrics

    return train_step
