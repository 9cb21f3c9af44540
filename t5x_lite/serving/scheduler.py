"""Who waits, who runs: two threads, one for the slots and one for what no slot can do, and the queue before both."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from t5x_lite.console import log
from t5x_lite.decoding.generate import GenerationOutput
from t5x_lite.serving.alone import Alone
from t5x_lite.serving.engine import Engine
from t5x_lite.serving.slots import MOST_STEPS, Chosen
from t5x_lite.serving.tickets import Failed, Output, Part, Ticket
from t5x_lite.serving.trouble import queue_full, stopping

# Several tokens a call save the way to the device and back, and copies there: half of the work where many run. A person
# does not see that they come together.
_SECONDS_BETWEEN_PARTS = 0.05

Events = list[tuple[Ticket, Part | Failed]]


class Scheduler:
    """Generates for tickets.

    Args:
      engine: compiled. queue: outputs that may wait. count_tokens: is told of tokens as they come.
    """

    def __init__(
        self, engine: Engine, alone: Alone, *, queue: int, count_tokens: Callable[[int], None]
    ):
        self._engine, self._alone, self._queue = engine, alone, queue
        self._count_tokens = count_tokens
        self._eos = engine.structure.eos_token_ids
        self._waiting: collections.deque[tuple[Ticket, int]] = collections.deque()
        self._jobs: collections.deque[Ticket] = collections.deque()
        self._running: dict[int, Output] = {}
        self._fresh: set[int] = set()  # slots without a token yet
        self._job: Ticket | None = None
        self._changed = threading.Condition()
        self._open, self._stopped = True, False
        self._step_seconds = 0.0
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._serve, self._serve_jobs)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Outputs that wait."""
        return len(self._waiting) + sum(ticket.outputs for ticket in self._jobs)

    @property
    def running(self) -> int:
        """Slots that are taken."""
        return len(self._running)

    @property
    def running_alone(self) -> int:
        """Jobs beside the slots that run: 0 or 1."""
        return int(self._job is not None)

    @property
    def is_open(self) -> bool:
        """Whether new requests are taken."""
        return self._open

    @property
    def is_alive(self) -> bool:
        """Whether there is still somebody to generate."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not (self.waiting or self._running or self._job)

    def submit(self, ticket: Ticket) -> None:
        """Puts a ticket in the queue.

        Raises:
          Refused: the queue is full or closed.
        """
        with self._changed:
            if not self._open:
                raise stopping()
            free = 0 if ticket.job else self._engine.slots - len(self._running)
            if ticket.job and not self._job:
                free = ticket.outputs
            if self.waiting + ticket.outputs > self._queue + free:
                raise queue_full()
            if ticket.job:
                self._jobs.append(ticket)
            else:
                self._waiting.extend((ticket, index) for index in range(ticket.outputs))
            self._changed.notify_all()

    def cancel(self, ticket: Ticket) -> None:
        """Takes a ticket out, wherever it is; a job that runs goes on, for nobody."""
        with self._changed:
            ticket.cancelled = True
            self._changed.notify_all()

    def close(self) -> None:
        """Takes nothing new."""
        with self._changed:
            self._open = False

    def stop(self) -> None:
        """Ends the threads, after the step that they are in."""
        with self._changed:
            self._open, self._stopped = False, True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _serve(self) -> None:
        while self._wait_for_work():
            try:
                events = self._turn()
            except Exception:
                log.exception("the running batch failed; its requests get status 500")
                events = [(out.ticket, Failed()) for out in self._running.values()]
                self._running.clear()
                self._fresh.clear()
                if not self._come_back():
                    _post(events + [(ticket, Failed()) for ticket, _ in self._waiting])
                    return
            _post(events)

    def _come_back(self) -> bool:
        """Empty slots, since what was given to a failed call is lost; False where there are none to be had."""
        try:
            self._engine.reset()
        except Exception:
            log.exception("the device does not come back: start the server again")
            self.close()
            return False
        return True

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not (self._waiting or self._running or self._stopped):
                self._changed.wait()
            return not self._stopped

    def _turn(self) -> Events:
        """Lets go of who went away, takes in who waits, and chooses some tokens."""
        for slot in self._let_go():
            self._fresh.discard(slot)
        for slot, (ticket, index) in self._admit():
            self._running[slot] = Output(ticket, index)
            self._fresh.add(slot)
            self._engine.join(slot, ticket.rows[index])
        if not self._running:
            return []
        begin = time.monotonic()
        chosen = self._engine.advance(sorted(self._running), self._count())
        steps = int(chosen.steps)
        self._step_seconds = (time.monotonic() - begin) / max(steps, 1)
        self._fresh.clear()
        return self._events(chosen)

    def _let_go(self) -> list[int]:
        with self._changed:
            gone = [slot for slot, out in self._running.items() if out.ticket.cancelled]
            for slot in gone:
                del self._running[slot]
            if any(ticket.cancelled for ticket, _ in self._waiting):
                kept = [entry for entry in self._waiting if not entry[0].cancelled]
                self._waiting = collections.deque(kept)
        return gone

    def _admit(self) -> list[tuple[int, tuple[Ticket, int]]]:
        """Who waits the longest gets the lowest free slot: the fewer rows a step has, the less it costs."""
        with self._changed:
            free = (slot for slot in range(self._engine.slots) if slot not in self._running)
            admitted = []
            for slot in free:
                if not self._waiting:
                    break
                admitted.append((slot, self._waiting.popleft()))
        return admitted

    def _count(self) -> int:
        """Tokens until the host looks again: one where all wait for their first."""
        if len(self._fresh) == len(self._running) or not self._step_seconds:
            return 1
        return max(1, min(MOST_STEPS, int(_SECONDS_BETWEEN_PARTS / self._step_seconds)))

    def _events(self, chosen: Chosen) -> Events:
        events: Events = []
        for slot, out in list(self._running.items()):
            part = self._part(chosen, slot, out)
            events.append((out.ticket, part))
            self._count_tokens(len(part.tokens))
            if part.ended:
                del self._running[slot]
        return events

    def _part(self, chosen: Chosen, slot: int, out: Output) -> Part:
        part = Part(out.index, [], [], [], None)
        steps = int(chosen.steps)
        ended = chosen.ended[:steps, slot].tolist()
        for token, over in zip(chosen.tokens[:steps, slot].tolist(), ended, strict=True):
            part.tokens.append(token)
            part.ended = out.ends(token, self._eos, over)
            if part.ended:
                break
        if out.ticket.rows[out.index].with_logprobs:
            mine = slice(0, len(part.tokens)), slot
            part.logprobs = chosen.logprobs[mine].tolist()
            part.alternatives = [
                list(zip(tokens, logprobs, strict=True))
                for tokens, logprobs in zip(
                    chosen.alternatives[mine].tolist(),
                    chosen.alternative_logprobs[mine].tolist(),
                    strict=True,
                )
            ]
        return part

    def _serve_jobs(self) -> None:
        while (ticket := self._next_job()) is not None:
            assert ticket.job is not None
            try:
                output = self._alone.run(ticket.job)
                events = job_events(ticket, output, self._eos)
                self._count_tokens(int(np.sum(output.lengths)))
            except Exception:
                log.exception("a call beside the running batch failed; its request gets status 500")
                events = [(ticket, Failed())]
            self._job = None
            _post(events)

    def _next_job(self) -> Ticket | None:
        with self._changed:
            while True:
                while self._jobs and self._jobs[0].cancelled:
                    self._jobs.popleft()
                if self._stopped:
                    return None
                if self._jobs:
                    self._job = self._jobs.popleft()
                    return self._job
                self._changed.wait()


def job_events(ticket: Ticket, output: GenerationOutput, eos: Sequence[int]) -> Events:
    """Each output of a job as one part."""
    events: Events = []
    for index in range(ticket.outputs):
        length = int(output.lengths[index])
        tokens = np.asarray(output.tokens[index][:length]).tolist()
        logprobs = [] if output.logprobs is None else output.logprobs[index][:length].tolist()
        out = Output(ticket, index)
        ends = [out.ends(token, eos, False) for token in tokens]
        part = Part(index, tokens, logprobs, [[] for _ in logprobs], ends[-1] or "length")
        events.append((ticket, part))
    return events


def _post(events: Events) -> None:
    """Once for each loop, not for each ticket: waking a loop costs."""
    by_loop: dict[asyncio.AbstractEventLoop, Events] = {}
    for ticket, part in events:
        by_loop.setdefault(ticket.loop, []).append((ticket, part))
    for loop, mine in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, mine)


def _deliver(events: Events) -> None:
    for ticket, part in events:
        ticket.deliver(part)
