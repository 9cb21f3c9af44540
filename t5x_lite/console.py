"""The one place through which the project speaks: a logger and progress bars, on process 0 only."""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType

import tqdm

log = logging.getLogger("t5x_lite")

_SECONDS_BETWEEN_LINES_WITHOUT_A_TERMINAL = 30.0


def _is_speaker() -> bool:
    # jax is imported late: importing it costs a second that `--help` should not pay.
    jax = sys.modules.get("jax")
    if jax is None:
        return True
    from jax._src import distributed  # the public process_index() would initialize the backend

    return (distributed.global_state.process_id or 0) == 0


def setup(level: int = logging.INFO) -> None:
    """Sends the project's log to standard error, on process 0 only. Called once, by the program's entry point."""
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(lambda record: _is_speaker() or record.levelno >= logging.ERROR)
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


class progress:
    """A progress bar with an ETA: `with progress(total, "training", "step") as bar: bar.update(1); bar.note("loss 2.1")`.

    Without a terminal (a log file, a CI run) it writes a line every 30 seconds instead of redrawing one.
    """

    def __init__(self, total: int | None, description: str, unit: str = "it", initial: int = 0):
        interactive = sys.stderr.isatty()
        silent = not _is_speaker() or os.environ.get("T5X_LITE_PROGRESS") == "0"
        self._bar = tqdm.tqdm(
            total=total,
            desc=description,
            unit=unit,
            initial=initial,
            disable=silent,
            dynamic_ncols=interactive,
            ncols=None if interactive else 100,
            mininterval=0.2 if interactive else _SECONDS_BETWEEN_LINES_WITHOUT_A_TERMINAL,
            maxinterval=0.5 if interactive else _SECONDS_BETWEEN_LINES_WITHOUT_A_TERMINAL,
            leave=False,
        )

    def update(self, n: int = 1) -> None:
        """Advances the bar by `n` units."""
        self._bar.update(n)

    def note(self, text: str) -> None:
        """Shows a short text behind the bar (the loss, say)."""
        self._bar.set_postfix_str(text, refresh=False)

    def __enter__(self) -> progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
