"""What a train step maps to its successor."""

from __future__ import annotations

from typing import Any

import jax
import optax
from flax import struct

Params = dict[str, Any]


@struct.dataclass
class TrainState:
    """step: int32 scalar, the number of steps taken. params: in the layout that is trained (unrolled or stacked)."""

    step: jax.Array
    params: Params
    opt_state: optax.OptState


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32), params=params, opt_state=optimizer.init(params)
    )
