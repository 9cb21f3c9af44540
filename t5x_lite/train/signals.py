"""Ctrl-C, SIGTERM (a preempted VM), a deadline and a notice of preemption as a flag that the loop reads between steps;
several processes agree on where.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

from t5x_lite.console import log
from t5x_lite.parallel.processes import look_up, post, process_count, wait_for_all

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How many questions later all processes stop, see `StopSignal.agreed`.
_AHEAD = 2
_numbers = itertools.count()
# What stands in place of a signal's number where a deadline has passed, or the machine is about to be taken away.
DEADLINE, PREEMPTED = 0, -1
_SOURCES = {DEADLINE: "stop_after", PREEMPTED: "stop_on_preemption"}
# Set by whoever is told that the machine is about to be taken away (`train.preemption`).
preempted = threading.Event()
_deadlines: list[float] = []  # of time.monotonic
_leaving: list[bool] = []  # one for each `leave_at_once` around


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within, loops stop so many seconds from now, in order, as at a signal; 0: never. Of several the first counts."""
    end = time.monotonic() + seconds
    if seconds:
        _deadlines.append(end)
    try:
        yield
    finally:
        if seconds:
            _deadlines.remove(end)


class StopSignal:
    """Context manager: `received` is the number of the first signal (DEADLINE, PREEMPTED for what is none), or None.

    A second signal of this process raises KeyboardInterrupt; where the process is `leave_at_once`'s, it ends it at
    once, also amid a compilation.

    Of several processes any may get the signal; `agreed` becomes true at the same question on all.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._around = contextlib.ExitStack()
        self._key = f"t5x_lite/stop/{next(_numbers)}"
        self._asked = 0
        self._signals = 0  # of this process

    def agreed(self) -> bool:
        """Whether to stop here. All processes ask equally often, at the same places.

        A process that got a signal before its question n posts it then, and all stop at question n + 2. That is early
        enough for all to know, because whoever asks question n + 2 has read what all processes computed after their
        question n: the loop reads the metrics of each step, and an evaluation the sums of each batch, one step behind.
        """
        if self.received is None and _deadlines and time.monotonic() > min(_deadlines):
            self.received = DEADLINE
            log.warning("stop_after: saving a checkpoint after this step")
        if self.received is None and preempted.is_set():
            self.received = PREEMPTED
            log.warning("stop_on_preemption: saving a checkpoint after this step")
        if process_count() == 1:
            return self.received is not None
        self._asked += 1
        if self.received is not None:
            post(self._key, json.dumps([self._asked + _AHEAD, self.received]))
        posted = look_up(self._key)
        if posted is None:
            return False
        at, number = json.loads(posted)
        if self._asked < at:
            return False
        if self.received is None:
            name = _SOURCES.get(number) or signal.Signals(number).name
            log.warning("%s in another process: stopping", name)
        self.received = number
        return True

    def agreed_at_the_end(self) -> bool:
        """Whether any process got a signal; waits for all."""
        if process_count() == 1:
            return self.received is not None
        if self.received is not None:
            post(self._key, json.dumps([self._asked, self.received]))
        wait_for_all()
        posted = look_up(self._key)
        self.received = None if posted is None else json.loads(posted)[1]
        return posted is not None

    def __enter__(self) -> StopSignal:
        # Only a main thread may handle signals; elsewhere (a notebook's worker) they stay with the program.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
            if _leaving:
                self._around.enter_context(_watched())
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Not by what was received: the SIGTERM of a shutdown comes behind its notice, a scheduler's behind the
        # deadline, that of one process behind the other's, and each is the first one here.
        self._signals += 1
        if self._signals > 1:
            if _leaving:  # whichever is first, this thread or the one that watches
                _leave(number)
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
        log.warning(
            "%s: saving a checkpoint after this step; once more leaves at once, without one",
            signal.Signals(number).name,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._around.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def leave_at_once() -> Iterator[None]:
    """Within, a second signal amid a `StopSignal` ends the process at once, with 128 and its number as status. For
    programs: a notebook gets a KeyboardInterrupt.
    """
    _leaving.append(True)
    try:
        yield
    finally:
        _leaving.pop()


def _leave(number: int) -> NoReturn:
    os.write(2, b"t5x-lite: left at once; the last checkpoint is kept\n")
    os._exit(128 + number)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Within, a thread sees signals when they come, and not only between two lines of Python, which a compilation keeps
    from being reached for minutes; the second ends the process. No checkpoint is left half written: each is complete,
    or not there.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def watch() -> None:
        seen = 0
        while numbers := os.read(read, 64):
            for number in numbers:
                seen += number in _SIGNALS
                if number in _SIGNALS and seen > 1:
                    _leave(number)
        os.close(read)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(write)
