"""What a train step maps to its successor."""

from __future__ import annotations

from typing import Any

import jax
import optax
from flax import struct

from t5x_lite.params.partition import join

Params = dict[str, Any]


@struct.dataclass
class TrainState:
    """step: int32 scalar, the number of steps taken. params: in the layout that is trained (unrolled or stacked).
    adapters: in the same layout beside them, {} without adapters.
    """

    step: jax.Array
    params: Params
    opt_state: optax.OptState
    adapters: Params = struct.field(default_factory=dict)


def init_state(
    params: Params, optimizer: optax.GradientTransformation, adapters: Params | None = None
) -> TrainState:
    """The state before the first step.

    optimizer: of the joined tree (`params.partition.join`); with frozen leaves from `optim.trainable`.
    """
    return TrainState(
        step=jax.numpy.zeros((), jax.numpy.int32),
        params=params,
        opt_state=optimizer.init(join(params, adapters)),
        adapters=adapters or {},
    )
