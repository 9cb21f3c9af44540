"""The rows of a global batch that the devices of this process hold: all that it reads of the one plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from t5x_lite.parallel.shardings import batch_sharding, row_multiple


class _Batches(Protocol):
    def batch(
        self, step: int, keep: Callable[[int], np.ndarray] | None = None
    ) -> dict[str, np.ndarray]: ...


class OwnRows:
    """Which rows they are, and how they become the global batch. In a single process all rows are its own."""

    def __init__(self, mesh: Mesh):
        self._sharding = batch_sharding(mesh)
        self._parts = row_multiple(mesh)
        held = self._sharding.addressable_devices_indices_map((self._parts,))
        self._own = sorted({index[0].start or 0 for index in held.values() if index})

    def of(self, count: int) -> np.ndarray:
        """int [own rows]: their numbers in a batch of `count` rows, a multiple of `row_multiple`."""
        every = np.arange(count).reshape(self._parts, -1)
        return every[self._own].ravel()

    def read(self, batches: _Batches, step: int) -> dict[str, jax.Array]:
        """The global batch of that step on the devices, of which this process builds its own rows alone."""
        return self.put(batches.batch(step, self.of))

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The global batch on the devices; `batch` holds the own rows alone, in their order."""
        return {name: self._put(rows) for name, rows in batch.items()}

    def _put(self, rows: np.ndarray) -> jax.Array:
        of_part = rows.reshape(len(self._own), -1, *rows.shape[1:])
        size = of_part.shape[1]

        def part(index: Any) -> np.ndarray:
            return of_part[self._own.index((index[0].start or 0) // size)]

        shape = (self._parts * size, *rows.shape[1:])
        return jax.make_array_from_callback(shape, self._sharding, part)
