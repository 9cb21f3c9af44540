"""Train and evaluation steps of classifiers and reward models, in the form that the supervised loop runs.

Both read T5 batches: a text is the encoder's, and what it is judged by the decoder's. For a classifier that is the
label, one whole number a row; for a preference pair the rejected text (the chosen one is the encoder's), or, of a model
that reads prompt and response apart, both responses to the encoder's prompt (`data.preferences.PairPlan`). A row
without any loss weight only fills the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite.errors import InputError
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import Batch, Metrics
from t5x_lite.train.thinning import WHOLE, Thinning, thinned

CROSS_ENTROPY, PREFERENCE = "cross_entropy", "preference"
Sums = dict[str, jax.Array]
_THINNING = (
    1  # what the step's rng is folded with to thin its texts; dropout draws from the rng itself
)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What is learned.

    kind: "cross_entropy" of labels; "preference": -log sigmoid(r_chosen - r_rejected - margin), Bradley-Terry.
    margin: by how much the chosen response should be better at least (Touvron et al. 2023, arXiv:2307.09288).
    center: weight of (r_chosen + r_rejected)^2, which keeps rewards around 0 (Eisenstein et al. 2023,
      arXiv:2312.09244).
    """

    kind: str
    margin: float
    center: float

    def __post_init__(self) -> None:
        if self.kind not in (CROSS_ENTROPY, PREFERENCE):
            raise InputError(
                f"loss.kind must be {CROSS_ENTROPY!r} or {PREFERENCE!r}, got {self.kind!r}"
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

    weight = (batch["decoder_loss_weights"].sum(axis=1) > 0).astype(jnp.float32)
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
        correct = difference > 0  # a tie is no answer
    return {
        "loss": jnp.sum(loss * weight),
        "nll": jnp.sum(nll * weight),
        "correct": jnp.sum(correct * weight),
        "weight": jnp.sum(weight),
    }


def make_classifier_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    judgement: Judgement,
    thinning: Thinning = WHOLE,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
    """Makes `train_step(state, batch, base_rng) -> (state, metrics)`, to be jitted with the state donated.

    As the sequence-to-sequence step: the loss is the mean over the rows, dropout draws from
    `fold_in(base_rng, state.step)`, and a step that is not finite changes nothing but its number.
    """

    def train_step(
        state: TrainState, batch: Batch, base_rng: jax.Array
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(base_rng, state.step)

        def loss(params: Any) -> tuple[jax.Array, Sums]:
            sums = judgement_sums(module, params, batch, rng, judgement, thinning)
            return sums["loss"] / jnp.maximum(sums["weight"], 1.0), sums

        (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        finite = jnp.isfinite(norm) & jnp.isfinite(value)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (optax.apply_updates(state.params, updates), opt_state),
            (state.params, state.opt_state),
        )
        rows = jnp.maximum(sums["weight"], 1.0)
        metrics = {
            "loss": value,
            "nll": sums["nll"] / rows,
            "accuracy": sums["correct"] / rows,
            "rows": sums["weight"],
            "grad_norm": norm,
            "param_norm": optax.tree.norm(params),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "skipped": 1.0 - finite.astype(jnp.float32),
        }
        new = dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state)
        return new, metrics

    return train_step
