"""One pure train step: gradients of a weighted mean loss, accumulated, guarded, applied."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite.models.t5 import T5, project
from t5x_lite.optim.losses import LossSettings, Sums, cross_entropy_sums
from t5x_lite.optim.trainable import combine, trainable_part
from t5x_lite.params.adapters import variables
from t5x_lite.params.partition import join, separate
from t5x_lite.train.state import Params, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
# Decoder positions whose logits an evaluation holds at a time where no `loss.chunk` says it: of mT5's vocabulary
# those of a batch of 4,096 tokens would take 4 GB.
EVALUATION_CHUNK = 32


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
    inputs = variables(params, adapters)
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
    return cross_entropy_sums(
        functools.partial(project, model.config),
        model.apply(inputs, hidden.shape[0], rngs=rngs, method="output_kernel"),
        hidden,
        batch["decoder_target_tokens"],
        batch["decoder_loss_weights"],
        settings,
    )


def make_train_step(
    model: T5,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: LossSettings,
    *,
    accumulation: int = 1,
    labels: Params | None = None,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
    """Makes `train_step(state, batch, base_rng) -> (state, metrics)`, to be jitted with the state donated.

    The loss is the mean over the weighted tokens of the whole batch, also when it is accumulated over
    `accumulation` slices of it. Dropout draws from `fold_in(base_rng, state.step)`. A step whose loss or gradient
    is not finite leaves parameters and optimizer as they were (the old buffers are donated, so this has to
    happen inside) and says so in metrics["skipped"].

    labels: of `params.partition.label` for the joined tree of parameters and adapters; the optimizer must then come
    from `optim.trainable.partition_optimizer`. Frozen leaves get no gradient, no clipping, no norm, and leave as they
    came. None: every parameter is trained.

    Metrics, float32 scalars: loss, nll, accuracy (weighted means), tokens (sum of weights), grad_norm (before
    clipping), param_norm, learning_rate, skipped.
    """

    def micro_loss(
        part: Params, whole: Params, batch: Batch, rng: jax.Array, total: jax.Array
    ) -> tuple[jax.Array, Sums]:
        params, adapters = separate(combine(part, whole))
        sums = loss_sums(model, params, batch, rng, settings, adapters)
        return sums["loss"] / total, sums

    gradient = jax.grad(micro_loss, has_aux=True)

    def train_step(
        state: TrainState, batch: Batch, base_rng: jax.Array
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(base_rng, state.step)
        total = jnp.maximum(batch["decoder_loss_weights"].sum(), 1.0)
        whole = join(state.params, state.adapters)
        part = whole if labels is None else trainable_part(whole, labels)
        if accumulation == 1:
            grads, sums = gradient(part, whole, batch, rng, total)
        else:
            grads, sums = _accumulate(gradient, part, whole, batch, rng, total, accumulation)
        grad_norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, part)
        new_part = optax.apply_updates(part, updates)
        finite = jnp.isfinite(grad_norm) & jnp.isfinite(sums["loss"])
        new_part, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (new_part, opt_state),
            (part, state.opt_state),
        )
        params, adapters = separate(combine(new_part, whole))
        metrics = {
            "loss": sums["loss"] / total,
            "nll": sums["nll"] / total,
            "accuracy": sums["correct"] / total,
            "tokens": sums["weight"],
            "grad_norm": grad_norm,
            "param_norm": optax.tree.norm(new_part),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "skipped": 1.0 - finite.astype(jnp.float32),
        }
        new_state = TrainState(
            step=state.step + 1, params=params, opt_state=opt_state, adapters=adapters
        )
        return new_state, metrics

    return train_step


def _accumulate(
    gradient: Callable,
    part: Params,
    whole: Params,
    batch: Batch,
    rng: jax.Array,
    total: jax.Array,
    accumulation: int,
) -> tuple[Params, Sums]:
    """Sums gradients over slices of the batch; a slice takes every `accumulation`-th row, so that each device keeps
    a share of every slice and no row moves between devices."""
    slices = {
        key: jnp.moveaxis(x.reshape(-1, accumulation, *x.shape[1:]), 1, 0)
        for key, x in batch.items()
    }

    def body(carry: tuple, inputs: tuple) -> tuple:
        index, piece = inputs
        new = gradient(part, whole, piece, jax.random.fold_in(rng, index), total)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), carry, new), None

    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.float32),
        jax.eval_shape(gradient, part, whole, jax.tree.map(lambda x: x[0], slices), rng, total),
    )
    (grads, sums), _ = jax.lax.scan(body, zeros, (jnp.arange(accumulation), slices))
    return grads, sums


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
