"""Ctrl-C and SIGTERM (a preempted VM) as a flag that the loop reads between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from t5x_lite.console import log

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Context manager: `received` is the number of the first signal, or None. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

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
