"""What a tree of arrays takes on this machine's devices, before any of it is made or compiled."""

from __future__ import annotations

import math
from typing import Any

import jax

from t5x_lite.errors import InputError
from t5x_lite.foreign.sizes import in_words, memory_bytes


def refuse_beyond_memory(abstract: Any, what: str) -> None:
    """Refuses arrays that the memory of the devices of this process does not hold, whatever else is computed.

    Args:
      abstract: a tree of `jax.ShapeDtypeStruct` with shardings. Devices that are not there (the pod check's) are not
        asked.
      what: what the arrays are, and which fields say how large: of the message.

    Raises:
      InputError: with what they take and what there is.
    """
    leaves = _placed(abstract)
    if not leaves:
        return
    here = leaves[0].sharding.device_set & set(jax.local_devices())
    each = bytes_each(abstract)
    for device in list(here)[:1]:
        on_host = device.platform == "cpu"  # its devices share the machine's memory
        stats = {} if on_host else device.memory_stats() or {}
        most = memory_bytes() if on_host else stats.get("bytes_limit", math.inf)
        taken = each * (len(here) if on_host else 1)
        if taken > most:
            raise InputError(
                f"{what} would take {in_words(taken)} {'on this machine' if on_host else 'on each device'}, which has"
                f" {in_words(most)}; choose smaller sizes, or more devices"
            )


def bytes_each(abstract: Any) -> int:
    """Bytes that a tree of `jax.ShapeDtypeStruct` takes on each device; leaves without a sharding are not counted."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * _itemsize(leaf.dtype)
        for leaf in _placed(abstract)
    )


def _placed(abstract: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(abstract) if leaf.sharding is not None]


def _itemsize(dtype: Any) -> int:
    return 8 if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) else dtype.itemsize
