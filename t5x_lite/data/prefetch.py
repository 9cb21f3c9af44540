"""Prefetching: the plan's batches, built a few steps ahead of the train step in background
threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import grain

T = TypeVar("T", covariant=True)


class _HasBatch(Protocol[T]):
    def batch(self, step: int) -> T: ...


class _Steps(Generic[T]):
    """The steps start..stop of a plan as a sequence, which is what grain reads from."""

    def __init__(self, plan: _HasBatch[T], start: int, stop: int):
        self._plan, self._start, self._stop = plan, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: int) -> T:
        return self._plan.batch(self._start + index)


def iterate(plan: _HasBatch[T], start: int, stop: int, *, threads: int, ahead: int) -> Iterator[T]:
    """Yields `plan.batch(step)` for start <= step < stop, in order, built up to `ahead` steps
    early.

    The result does not depend on `threads` or `ahead`. An exception of the plan is raised here;
    the threads end with the iterator (closed, exhausted, or broken by an exception such as Ctrl-C).
    """
    if stop <= start:
        return
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    batches = iter(grain.MapDataset.source(_Steps(plan, start, stop)).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()
