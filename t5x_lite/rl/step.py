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
from t5x_lite.rl.losses import Forward, PPOSettings, Targets, ppo_loss
from t5x_lite.rl.masked import whiten
from t5x_lite.train.update import apply_gradients

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
    mask: jax.Array  # float32 [batch, length], 1 where a response token counts
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
    `fold_in(base_rng, state.step)`, `minibatch_size` at a time. A minibatch whose loss or gradient is not finite
    changes nothing; one that is too far from the policy that wrote its responses (`target_kl`) ends the step.

    statistics: float32 scalars, ppo/* (docs/architecture.md), means over the minibatches that were visited; beside them
      ppo/grad_norm, ppo/minibatches (those that changed the state), ppo/skipped (not finite), ppo/early_stop (0 or 1).
    details: [batch, length] each: advantages (whitened over the batch where that is asked), returns,
      non_score_rewards.
    """

    def advantages_of(state: PPOState, e: Experience) -> tuple[Targets, jax.Array]:
        coefficient = state.kl_coef if settings.kl_penalty == "reward" else jnp.float32(0.0)
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
        old = Targets(e.logprobs, e.ref_logprobs, values, advantages, returns, e.mask)
        return jax.lax.stop_gradient(old), non_score

    def ppo_step(
        state: PPOState, frozen: Tree, experience: Experience, base_rng: jax.Array
    ) -> tuple[PPOState, dict[str, jax.Array], dict[str, jax.Array]]:
        rng = jax.random.fold_in(base_rng, state.step)
        targets, non_score = advantages_of(state, experience)
        rows = experience.mask.shape[0]
        # Whole minibatches (the config is checked for that).
        orders = [
            jax.random.permutation(jax.random.fold_in(rng, epoch), rows)
            for epoch in range(settings.epochs)
        ]
        order = jnp.concatenate(orders).reshape(-1, settings.minibatch_size)

        def update(carry: tuple, number_and_rows: tuple) -> tuple[tuple, dict[str, jax.Array]]:
            trainable, opt_state, stopped = carry
            number, chosen = number_and_rows
            inputs, old = jax.tree.map(lambda x: x[chosen], (experience.inputs, targets))
            key = jax.random.fold_in(jax.random.fold_in(rng, settings.epochs), number)

            def loss(trainable: Tree) -> tuple[jax.Array, dict[str, jax.Array]]:
                new = forward(trainable, frozen, inputs, key if settings.dropout else None)
                return ppo_loss(new, old, settings, state.kl_coef)

            grads, statistics = jax.grad(loss, has_aux=True)(trainable)
            visited = ~stopped
            if settings.target_kl:
                far = statistics["ppo/policy/approxkl"] > _EARLY_STOP_FACTOR * settings.target_kl
                stopped = stopped | far
            new = apply_gradients(
                optimizer, grads, statistics["ppo/loss/total"], trainable, opt_state, ~stopped
            )
            marks = {
                "visited": visited,
                "applied": new.finite & ~stopped,
                "skipped": visited & ~new.finite,
            }
            statistics = statistics | {"ppo/grad_norm": new.norm} | marks
            return (new.part, new.opt_state, stopped), statistics

        carry = (state.trainable, state.opt_state, jnp.zeros((), bool))
        (trainable, opt_state, stopped), history = jax.lax.scan(
            update, carry, (jnp.arange(len(order)), order)
        )
        visited = history.pop("visited").astype(jnp.float32)
        applied, skipped = history.pop("applied"), history.pop("skipped")
        statistics = {name: _mean_where(values, visited) for name, values in history.items()}
        variance = jnp.maximum(statistics["ppo/returns/var"], 1e-8)
        statistics |= {
            "ppo/val/var_explained": 1.0 - statistics["ppo/val/error"] / variance,
            "ppo/learning_rate": jnp.asarray(schedule(state.step * len(order)), jnp.float32),
            "ppo/minibatches": applied.sum().astype(jnp.float32),
            "ppo/skipped": skipped.sum().astype(jnp.float32),
            "ppo/early_stop": stopped.astype(jnp.float32),
        }
        kl = jnp.where(targets.mask > 0, targets.logprobs - targets.ref_logprobs, 0.0)
        kl_coef = controller.next(state.kl_coef, kl.sum(axis=1).mean(), rows)
        details = {
            "advantages": targets.advantages,
            "returns": targets.returns,
            "non_score_rewards": non_score,
        }
        new = PPOState(state.step + 1, trainable, opt_state, kl_coef)
        return new, statistics, details

    return ppo_step


def _mean_where(values: jax.Array, marks: jax.Array) -> jax.Array:
    values = jnp.where(marks > 0, values, 0.0)
    return values.sum() / jnp.maximum(marks.sum(), 1.0)
