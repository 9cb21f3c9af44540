"""Two plans one after the other: a run that first learns to denoise its texts, then its task."""

from __future__ import annotations

import dataclasses

from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Batch
from t5x_lite.data.plan import Keep, Plan


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """`steps` batches of `first`, then those of `then`: still a pure function of the step, resumed by its number."""

    first: Plan
    steps: int
    then: Plan

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of both plans' batches."""
        return tuple(dict.fromkeys((*self.first.shapes, *self.then.shapes)))

    def batch(self, step: int, keep: Keep | None = None) -> Batch:
        """The global batch of that step, or the rows of it that `keep` says."""
        if step < self.steps:
            return self.first.batch(step, keep)
        return self.then.batch(step - self.steps, keep)

    def names(self, step: int) -> list[str]:
        """What a message calls the examples in that step's batch."""
        if step < self.steps:
            return self.first.names(step)
        return self.then.names(step - self.steps)
