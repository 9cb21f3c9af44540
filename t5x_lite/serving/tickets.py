"""What stands between a request and the threads that generate for it: its outputs, part by part, as they come."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np

from t5x_lite.decoding.stop_strings import advance_stops
from t5x_lite.serving.alone import Job
from t5x_lite.serving.engine import Row


@dataclasses.dataclass
class Part:
    """New tokens of one output of a request.

    index: which output. logprobs: of each token under the model; alternatives: to each, (token, log-probability),
    likeliest first; both empty where nobody asked. ended: "stop" (eos, or a stop string) or "length"; None: it goes on.
    """

    index: int
    tokens: list[int]
    logprobs: list[float]
    alternatives: list[list[tuple[int, float]]]
    ended: str | None


class Failed(Exception):
    """The program failed while it generated for this request."""


class Ticket:
    """One request. Made on the event loop; the threads post to it, and its coroutine reads.

    rows: its outputs, for slots; or a job, for what no slot can do. stop_table: of its stop strings.
    """

    def __init__(
        self, rows: Sequence[Row], job: Job | None = None, stop_table: np.ndarray | None = None
    ):
        self.rows, self.job, self.stop_table = tuple(rows), job, stop_table
        self.outputs = len(self.rows) if job is None else job.outputs
        self.cancelled = False
        self.created = time.monotonic()
        self._parts: asyncio.Queue[Part | Failed] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    def deliver(self, part: Part | Failed) -> None:
        """On the loop's thread."""
        self._parts.put_nowait(part)

    async def parts(self, seconds: float) -> AsyncIterator[Part]:
        """The parts of all outputs until each has ended.

        Raises:
          Failed: the program did. TimeoutError: so many seconds from the ticket's beginning were not enough.
        """
        left, end = self.outputs, self.created + seconds
        while left:
            try:
                part = self._parts.get_nowait()
            except asyncio.QueueEmpty:
                part = await asyncio.wait_for(self._parts.get(), end - time.monotonic())
            if isinstance(part, Failed):
                raise part
            left -= part.ended is not None
            yield part


class Output:
    """One row while it is generated: where its stop strings are, and how it ends."""

    def __init__(self, ticket: Ticket, index: int):
        self.ticket, self.index = ticket, index
        self._table, self._state = ticket.stop_table, np.int32(0)

    def ends(self, token: int, eos_token_ids: Sequence[int], ended: bool) -> str | None:
        """Whether the row ends with this token; `ended`: by eos or length, as the device says."""
        stopped = False
        if self._table is not None:
            state, hit = advance_stops(self._table, self._state, np.int32(token))  # type: ignore[arg-type]
            self._state, stopped = np.int32(state), bool(hit)
        if stopped or token in eos_token_ids:
            return "stop"
        return "length" if ended else None
