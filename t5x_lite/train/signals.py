"""Ctrl-C and SIGTERM (a preempted VM) as a flag that the loop reads between steps; several processes agree on where."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from t5x_lite.console import log
from t5x_lite.parallel.processes import look_up, post, process_count, wait_for_all

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How many questions later all processes stop, see `StopSignal.agreed`.
_AHEAD = 2
_numbers = itertools.count()


class StopSignal:
    """Context manager: `received` is the number of the first signal, or None. A second Ctrl-C stops at once.

    Of several processes any may get the signal; `agreed` becomes true at the same question on all.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._key = f"t5x_lite/stop/{next(_numbers)}"
        self._asked = 0

    def agreed(self) -> bool:
        """Whether to stop here. All processes ask equally often, at the same places.

        A process that got a signal before its question n posts it then, and all stop at question n + 2. That is early
        enough for all to know, because whoever asks question n + 2 has read what all processes computed after their
        question n: the loop reads the metrics of each step, and an evaluation the sums of each batch, one step behind.
        """
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
            log.warning("%s in another process: stopping", signal.Signals(number).name)
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
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        log.warning("%s: saving a checkpoint after this step", signal.Signals(number).name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
