"""The one update of every trainer: gradients, their norm, the optimizer, and the old values where one is not finite.

What is learned is an `Objective`. Supervised training, classifiers, reward models and DPO make their step of it by
`make_update`; PPO, whose step is many updates, calls `apply_gradients` for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from t5x_lite.optim.trainable import combine, trainable_part
from t5x_lite.params.partition import join, separate
from t5x_lite.train.divergence import CULPRIT
from t5x_lite.train.state import Params, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Sums = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is learned, as sums over what counts, so that a batch may be read in slices.

    sums: (parameters, adapters, batch, dropout's rng) -> float32 scalars, "loss" among them.
    weight: batch -> how much of it counts (tokens, rows, pairs), float32; the loss that is descended is
      sums["loss"] / max(weight, 1).
    metrics: (sums, max(weight, 1)) -> what is logged of them.
    shared: keys of a batch that are no rows of it; every slice has them whole (a teacher's parameters).
    """

    sums: Callable[[Params, Params, Batch, jax.Array], Sums]
    weight: Callable[[Batch], jax.Array]
    metrics: Callable[[Sums, jax.Array], Metrics]
    shared: tuple[str, ...] = ()


class Applied(NamedTuple):
    """What an update left. finite: bool, whether loss and gradient were; norm: of the gradients, before clipping.
    culprit: the number of the first leaf whose gradient is not finite, -1 for none; float32, as metrics are.
    """

    part: Params
    opt_state: optax.OptState
    norm: jax.Array
    finite: jax.Array
    culprit: jax.Array


def apply_gradients(
    optimizer: optax.GradientTransformation,
    grads: Params,
    loss: jax.Array,
    part: Params,
    opt_state: optax.OptState,
    allowed: jax.Array | bool = True,
) -> Applied:
    """The trained part and the optimizer's state after one update; both as they were where loss or gradient is not
    finite, or the update not `allowed`.

    The old buffers are donated, so this has to happen inside the jitted step.
    """
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(norm) & jnp.isfinite(loss)
    updates, new_opt_state = optimizer.update(grads, opt_state, part)
    kept: tuple[Any, Any] = jax.tree.map(
        lambda new, old: jnp.where(finite & allowed, new, old),
        (optax.apply_updates(part, updates), new_opt_state),
        (part, opt_state),
    )
    return Applied(*kept, norm, finite, culprit_of(grads))


def culprit_of(tree: Params) -> jax.Array:
    """The number of the first leaf, in the tree's order, whose sum of squares is not finite, -1 for none; float32.

    The sums are those that a norm of the tree is made of: beside one they cost nothing.
    """
    sums = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)]
    finite = jnp.isfinite(jnp.stack([one.astype(jnp.float32) for one in sums]))
    return jnp.where(finite.all(), -1, jnp.argmin(finite)).astype(jnp.float32)


def make_update(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    labels: Params | None = None,
    accumulation: int = 1,
) -> TrainStep:
    """Makes `train_step(state, batch, base_rng) -> (state, metrics)`, to be jitted with the state donated.

    The loss is a mean over the whole batch, also when it is accumulated over `accumulation` slices of it. Dropout
    draws from `fold_in(base_rng, state.step)`. A step whose loss or gradient is not finite leaves parameters and
    optimizer as they were, and says so in metrics["skipped"].

    labels: of `params.partition.label` for the joined tree of parameters and adapters; the optimizer must then come
    from `optim.trainable.partition_optimizer`. Frozen leaves get no gradient, no clipping, no norm, and leave as they
    came. None: every parameter is trained.

    Metrics, float32 scalars: those of the objective, and grad_norm (before clipping), param_norm, learning_rate,
    skipped; and culprit (`Applied`).
    """

    def loss(
        part: Params, joined: Params, batch: Batch, rng: jax.Array, total: jax.Array
    ) -> tuple[jax.Array, Sums]:
        params, adapters = separate(combine(part, joined))
        sums = objective.sums(params, adapters, batch, rng)
        return sums["loss"] / total, sums

    gradient = jax.grad(loss, has_aux=True)

    def train_step(
        state: TrainState, batch: Batch, base_rng: jax.Array
    ) -> tuple[TrainState, Metrics]:
        rng = jax.random.fold_in(base_rng, state.step)
        total = jnp.maximum(objective.weight(batch), 1.0)
        joined = join(state.params, state.adapters)
        part = joined if labels is None else trainable_part(joined, labels)
        if accumulation == 1:
            grads, sums = gradient(part, joined, batch, rng, total)
        else:
            grads, sums = accumulated(
                lambda piece, key: gradient(part, joined, piece, key, total),
                batch, rng, accumulation, objective.shared,
            )  # fmt: skip
        new = apply_gradients(optimizer, grads, sums["loss"], part, state.opt_state)
        params, adapters = separate(combine(new.part, joined))
        metrics = objective.metrics(sums, total) | {
            "grad_norm": new.norm,
            "param_norm": optax.tree.norm(new.part),
            "learning_rate": rate_of(schedule, state.opt_state, state.step),
            "skipped": 1.0 - new.finite.astype(jnp.float32),
            CULPRIT: new.culprit,
        }
        new_state = TrainState(
            step=state.step + 1, params=params, opt_state=new.opt_state, adapters=adapters
        )
        return new_state, metrics

    return train_step


def accumulated(
    gradient: Callable[[Any, jax.Array], Any],
    batch: Any,
    rng: jax.Array,
    accumulation: int,
    shared: tuple[str, ...] = (),
) -> Any:
    """The sum of `gradient(slice, rng)`, any tree of arrays, over slices of the batch, a tree of rows; float32.

    shared: keys of a batch that are no rows, as `Objective` has them.

    A slice takes every `accumulation`-th row, so that each device keeps a share of every slice and no row moves
    between devices.
    """
    if whole := {name: batch[name] for name in shared if name in batch}:
        rows = {name: array for name, array in batch.items() if name not in whole}
        return accumulated(lambda piece, key: gradient(piece | whole, key), rows, rng, accumulation)
    slices = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(-1, accumulation, *x.shape[1:]), 1, 0), batch
    )

    def body(carry: Any, inputs: tuple[jax.Array, Any]) -> tuple[Any, None]:
        index, piece = inputs
        new = gradient(piece, jax.random.fold_in(rng, index))
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), carry, new), None

    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.float32),
        jax.eval_shape(gradient, jax.tree.map(lambda x: x[0], slices), rng),
    )
    total, _ = jax.lax.scan(body, zeros, (jnp.arange(accumulation), slices))
    return total


def rate_of(schedule: optax.Schedule, opt_state: optax.OptState, otherwise: jax.Array) -> jax.Array:
    """The learning rate that an optimizer in this state uses next, float32: by its own count of updates, which a step
    that was not applied does not raise; by the number `otherwise` of an optimizer that keeps no such count.
    """
    counts = [
        leaf.count
        for leaf in jax.tree.leaves(opt_state, is_leaf=_is_scheduled)
        if _is_scheduled(leaf)
    ]
    return jnp.asarray(schedule(counts[0] if counts else otherwise), jnp.float32)


def at_update(opt_state: optax.OptState, number: jax.Array) -> optax.OptState:
    """The state of an optimizer whose schedule stands at the update `number`."""
    return jax.tree.map(
        lambda leaf: leaf._replace(count=number.astype(leaf.count.dtype)) if _is_scheduled(leaf) else leaf,
        opt_state,
        is_leaf=_is_scheduled,
    )  # fmt: skip


def _is_scheduled(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def counted_rows(batch: Mapping[str, jax.Array]) -> jax.Array:
    """bool [rows]: which rows of a T5 batch count; one without any loss weight only fills it."""
    return batch["decoder_loss_weights"].sum(axis=1) > 0
