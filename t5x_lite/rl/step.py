"""One pure, jittable PPO step: rewards, advantages, and the updates of all epochs and minibatches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from t5x_lite.rl.advantages import gae, group_advantages, token_rewards
from t5x_lite.rl.kl import KLController, k1
from t5x_lite.rl.losses import (
    Forward,
    PPOSettings,
    Targets,
    counted_tokens,
    prepared,
    slice_loss,
    variances,
)
from t5x_lite.rl.masked import counted_rows, masked_mean, masked_sum, whiten
from t5x_lite.train.divergence import CULPRIT
from t5x_lite.train.update import accumulated, apply_gradients, at_update

Tree = Any
# (trainable, frozen, inputs, dropout rng or None) -> what the policy says of the responses in `inputs`
PolicyForward = Callable[[Tree, Tree, Mapping[str, jax.Array], jax.Array | None], Forward]

_EARLY_STOP_FACTOR = 1.5


@struct.dataclass
class PPOState:
    """step: rollouts trained on, int32. trainable: the policy's weights or adapters, the value head, the critic.
    kl_coef: float32 scalar."""

    step: jax.Array
    trainable: Tree
    opt_state: optax.OptState
    kl_coef: jax.Array


class Experience(NamedTuple):
    """A batch of scored responses, all on the devices; rows of one prompt side by side."""

    inputs: dict[str, jax.Array]  # what the policy reads, [batch, ...] each
    # float32 [batch, length], 1 where a token counts; of which responses any does, `masked.counted_rows` says.
    mask: jax.Array
    logprobs: jax.Array  # float32 [batch, length], of the policy that wrote the responses
    ref_logprobs: jax.Array
    values: jax.Array
    scores: jax.Array  # float32 [batch], shaped


def init_ppo_state(
    trainable: Tree, optimizer: optax.GradientTransformation, kl_coef: float
) -> PPOState:
    """The state before the first step."""
    return PPOState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        opt_state=optimizer.init(trainable),
        kl_coef=jnp.asarray(kl_coef, jnp.float32),
    )


def make_ppo_step(
    forward: PolicyForward,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: PPOSettings,
    controller: KLController,
) -> Callable[..., tuple[PPOState, dict[str, jax.Array], dict[str, jax.Array]]]:
    """Makes `ppo_step(state, frozen, experience, base_rng) -> (state, statistics, details)`; jit it, donating state.

    Advantages are computed once, before the epochs. Each epoch visits all rows in an order drawn from
    `fold_in(base_rng, state.step)`, `minibatch_size` at a time. A minibatch whose loss or gradient is not finite, or
    none of whose responses counts, changes nothing; one that is too far from the policy that wrote its responses
    (`target_kl`) ends the step. The schedule goes by the minibatches that there are, not by those that were applied, so
    that it ends with the run.

    statistics: float32 scalars, ppo/* (docs/architecture.md) as means over the tokens of the minibatches that were
      visited; with ppo/learning_rate (of the first minibatch), ppo/minibatches (those applied), ppo/skipped,
      ppo/early_stop (0 or 1), ppo/param_norm (of what is trained, afterwards), ppo/culprit (`train.divergence`).
    details: [batch, length] each: advantages (whitened over the batch if so asked), returns, non_score_rewards.
    """

    def ppo_step(
        state: PPOState, frozen: Tree, experience: Experience, base_rng: jax.Array
    ) -> tuple[PPOState, dict[str, jax.Array], dict[str, jax.Array]]:
        rng = jax.random.fold_in(base_rng, state.step)
        targets, non_score = targets_of(experience, settings, state.kl_coef)
        order = _order(rng, experience.mask.shape[0], settings)
        first = state.step * len(order)

        def visit(carry: _Carry, at: tuple[jax.Array, jax.Array]) -> tuple[_Carry, _Visit]:
            number, chosen = at
            inputs, old = jax.tree.map(lambda x: x[chosen], (experience.inputs, targets))
            key = jax.random.fold_in(jax.random.fold_in(rng, settings.epochs), number)

            def gradient(
                piece: tuple[dict[str, jax.Array], Targets], key: jax.Array, tokens: jax.Array
            ) -> tuple[Tree, dict[str, jax.Array]]:
                def loss(trainable: Tree) -> tuple[jax.Array, dict[str, jax.Array]]:
                    new = forward(trainable, frozen, piece[0], key if settings.dropout else None)
                    return slice_loss(new, piece[1], settings, state.kl_coef, tokens)

                return jax.grad(loss, has_aux=True)(carry.trainable)

            opt_state = at_update(carry.opt_state, first + number)
            grads, figures = _minibatch_gradient(gradient, inputs, old, key, settings)
            return _updated(
                carry._replace(opt_state=opt_state), grads, figures, old.mask, optimizer, settings
            )

        carry = _Carry(state.trainable, state.opt_state, jnp.zeros((), bool))
        carry, visits = jax.lax.scan(visit, carry, (jnp.arange(len(order)), order))
        statistics = _statistics(visits, carry.stopped)
        statistics["ppo/param_norm"] = optax.tree.norm(carry.trainable)
        statistics["ppo/learning_rate"] = jnp.asarray(schedule(first), jnp.float32)
        kl_coef = _controlled(controller, state.kl_coef, targets)
        new = PPOState(state.step + 1, carry.trainable, carry.opt_state, kl_coef)
        details = {"advantages": targets.advantages, "returns": targets.returns}
        return new, statistics, details | {"non_score_rewards": non_score}

    return ppo_step


def targets_of(
    e: Experience, settings: PPOSettings, kl_coef: jax.Array
) -> tuple[Targets, jax.Array]:
    """What the updates compare with, and the rewards that are no score."""
    coefficient = kl_coef if settings.kl_penalty == "reward" else jnp.float32(0.0)
    rewards, non_score = token_rewards(
        e.scores, k1(e.logprobs, e.ref_logprobs), e.mask, coefficient
    )
    if settings.whiten_rewards:
        rewards = whiten(rewards, e.mask, shift_mean=False)
    advantages, returns = gae(rewards, e.values, e.mask, gamma=settings.gamma, lam=settings.lam)
    if settings.advantage != "gae":
        advantages = group_advantages(
            rewards,
            e.mask,
            samples=settings.samples_per_prompt,
            normalize=settings.advantage == "grpo",
        )
    if settings.whiten_advantages == "batch":
        advantages = whiten(advantages, e.mask, shift_mean=True)
    values = e.values.astype(jnp.float32)
    targets = Targets(e.logprobs, e.ref_logprobs, values, advantages, returns, e.mask)
    return jax.lax.stop_gradient(targets), non_score


def _controlled(controller: KLController, kl_coef: jax.Array, targets: Targets) -> jax.Array:
    """The next coefficient, by the mean KL and the number of the responses that count."""
    kl = masked_sum(targets.logprobs - targets.ref_logprobs, targets.mask, axis=1)
    counts = counted_rows(targets.mask)
    return controller.next(kl_coef, masked_mean(kl, counts), counts.sum())


class _Carry(NamedTuple):
    """From minibatch to minibatch. stopped: bool, whether one was too far from the policy that wrote its responses."""

    trainable: Tree
    opt_state: optax.OptState
    stopped: jax.Array


class _Visit(NamedTuple):
    """A minibatch. figures: its statistics. weight: its tokens that count, 0 where it was not looked at."""

    figures: dict[str, jax.Array]
    weight: jax.Array
    applied: jax.Array
    skipped: jax.Array
    culprit: jax.Array  # of `train.update.Applied`, -1 where none was skipped


def _order(rng: jax.Array, rows: int, settings: PPOSettings) -> jax.Array:
    """int [minibatches, minibatch_size]: whole minibatches (the config is checked for that), epoch after epoch."""
    orders = [
        jax.random.permutation(jax.random.fold_in(rng, epoch), rows)
        for epoch in range(settings.epochs)
    ]
    return jnp.concatenate(orders).reshape(-1, settings.minibatch_size)


def _minibatch_gradient(
    gradient: Callable[..., tuple[Tree, dict[str, jax.Array]]],
    inputs: dict[str, jax.Array],
    old: Targets,
    key: jax.Array,
    settings: PPOSettings,
) -> tuple[Tree, dict[str, jax.Array]]:
    """Of a minibatch, at once or in slices. gradient: (slice, dropout's key, the minibatch's tokens) -> its share."""
    old, tokens = prepared(old, settings), counted_tokens(old.mask)
    if settings.accumulation == 1:
        grads, figures = gradient((inputs, old), key, tokens)
    else:
        grads, figures = accumulated(
            lambda piece, key: gradient(piece, key, tokens),
            (inputs, old), key, settings.accumulation,
        )  # fmt: skip
    return grads, figures | variances(old)


def _updated(
    carry: _Carry,
    grads: Tree,
    figures: dict[str, jax.Array],
    mask: jax.Array,
    optimizer: optax.GradientTransformation,
    settings: PPOSettings,
) -> tuple[_Carry, _Visit]:
    weight = (mask > 0).astype(jnp.float32).sum() * ~carry.stopped
    visited, stopped = weight > 0, carry.stopped
    if settings.target_kl:
        far = figures["ppo/policy/approxkl"] > _EARLY_STOP_FACTOR * settings.target_kl
        stopped = stopped | (visited & far)
    allowed = visited & ~stopped
    new = apply_gradients(
        optimizer, grads, figures["ppo/loss/total"], carry.trainable, carry.opt_state, allowed
    )
    skipped = visited & ~new.finite
    visit = _Visit(
        figures | {"ppo/grad_norm": new.norm}, weight, allowed & new.finite, skipped,
        jnp.where(skipped, new.culprit, -1),
    )  # fmt: skip
    return _Carry(new.part, new.opt_state, stopped), visit


def _statistics(visits: _Visit, stopped: jax.Array) -> dict[str, jax.Array]:
    """Means over the tokens of all minibatches that were visited, and how many there were."""
    total = jnp.maximum(visits.weight.sum(), 1.0)
    statistics = {
        name: jnp.where(visits.weight > 0, values * visits.weight, 0.0).sum() / total
        for name, values in visits.figures.items()
    }
    variance = jnp.maximum(statistics["ppo/returns/var"], 1e-8)
    return statistics | {
        "ppo/val/var_explained": 1.0 - statistics["ppo/val/error"] / variance,
        "ppo/minibatches": visits.applied.sum().astype(jnp.float32),
        "ppo/skipped": visits.skipped.sum().astype(jnp.float32),
        "ppo/early_stop": stopped.astype(jnp.float32),
        f"ppo/{CULPRIT}": visits.culprit[jnp.argmax(visits.skipped)],
    }
