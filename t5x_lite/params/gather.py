"""Arrays that lie on many devices, or on those of several processes, on the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def whole(leaf: Any) -> np.ndarray:
    """An array on the host, gathered where it lies on several processes; then all of them must call this."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)
