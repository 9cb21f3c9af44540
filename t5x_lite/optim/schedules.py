"""Learning rate schedules: a linear warm-up, then constant, linear, cosine or rsqrt."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from t5x_lite.errors import InputError
from t5x_lite.optim.sections import ScheduleSettings


def make_schedule(section: ScheduleSettings, total_steps: int) -> optax.Schedule:
    """Step -> learning rate, over a run of `total_steps` updates.

    Rises linearly to `learning_rate` over `warmup_steps` (step 0 already has a rate above 0), then stays, or falls
    to `final_fraction * learning_rate` at `total_steps` (linear, cosine), or goes as 1/sqrt(step) (T5's
    pretraining schedule, Raffel et al. 2020).

    Raises:
      InputError: a warm-up that is not shorter than the run.
    """
    learning_rate, final_fraction = section.learning_rate, section.final_fraction
    warmup_steps = section.warmup_steps
    if warmup_steps > max(total_steps - 1, 0):
        raise InputError(
            f"schedule.warmup_steps must be shorter than the run of {total_steps} steps, got {warmup_steps}"
        )
    decay_steps = max(total_steps - warmup_steps, 1)
    after: optax.Schedule
    if section.name == "constant":
        after = optax.constant_schedule(learning_rate)
    elif section.name == "linear":
        after = optax.linear_schedule(learning_rate, learning_rate * final_fraction, decay_steps)
    elif section.name == "cosine":
        after = optax.cosine_decay_schedule(learning_rate, decay_steps, alpha=final_fraction)
    else:
        peak_step = max(warmup_steps, 1)

        def after(step: jax.typing.ArrayLike) -> jax.Array:
            # Evaluated during the warm-up too (and then discarded), at steps from -peak_step on.
            return learning_rate * jnp.sqrt(peak_step / jnp.maximum(step + peak_step, 1))

    if warmup_steps == 0:
        return after
    warmup = optax.linear_schedule(learning_rate / (warmup_steps + 1), learning_rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])
