"""Batches with arrays of their targets, token by token: what somebody said of each, before the first step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Batch
from t5x_lite.data.plan import Keep, Plan


@dataclasses.dataclass(frozen=True)
class AnnotatedPlan:
    """The batches of a plan (without packing), with more keys.

    arrays: [target tokens of all examples, one after the other, ...] each. In a batch they are [rows, length, ...],
      zeros where there is no target.
    """

    plan: Plan
    arrays: Mapping[str, np.ndarray]

    @property
    def shapes(self) -> Sequence[Shape]:
        """The shapes of the plan's batches."""
        return self.plan.shapes

    def batch(self, step: int, keep: Keep | None = None) -> Batch:
        """The global batch of that step, or the rows of it that `keep` says."""
        batch = dict(self.plan.batch(step, keep))
        examples = self.plan.indices(step)
        if keep is not None:
            examples = examples[keep(len(examples))]
        shape = batch["decoder_target_tokens"].shape
        for name, array in self.arrays.items():
            batch[name] = np.zeros((*shape, *array.shape[1:]), array.dtype)
            for row, example in enumerate(examples):
                if example >= 0:
                    own = array[self._offsets[example] : self._offsets[example + 1]]
                    batch[name][row, : len(own)] = own
        return batch

    def names(self, step: int) -> list[str]:
        """What a message calls the examples in that step's batch."""
        return self.plan.names(step)

    @functools.cached_property
    def _offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.plan.source.decoder_lengths)])
