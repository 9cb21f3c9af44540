"""The one place through which the project speaks: a logger and progress bars, on process 0 only."""

from __future__ import annotations

import contextlib
import glob
import itertools
import logging
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

import tqdm

from t5x_lite.foreign.visible import visible

log = logging.getLogger("t5x_lite")

# Without a terminal (a log file, a CI run) a bar is a line of the log from time to time.
_SECONDS_BETWEEN_LINES = 30.0
# A bar inside another one shows up only if it lasts.
_SECONDS_BEFORE_A_NESTED_BAR = 3.0
# What is done sooner than that needs no word.
_SECONDS_BEFORE_WAITING = 0.3
_FRAMES = "|/-\\"
# Libraries that report every step of their own work at the level INFO, or warn of what is fine here.
_CHATTY = ("tensorstore", "grain", "datasets", "transformers", "httpx", "fsspec")
# These log a page for each error of their threads, which they raise later on: it is told then, in a line.
_TELLING_TWICE = ("absl", "orbax")
_GOOGLE = "0x1ae0"  # of PCI vendors: TPUs, and the network cards of Google's machines
_open_bars = 0


def _is_speaker() -> bool:
    # jax is imported late: importing it costs a second that `--help` should not pay.
    jax = sys.modules.get("jax")
    if jax is None:
        return True
    from jax._src import distributed  # the public process_index() would initialize the backend

    return (distributed.global_state.process_id or 0) == 0


def _from_speaker(record: logging.LogRecord) -> bool:
    return _is_speaker() or record.levelno >= logging.ERROR


class _AboveBars(logging.StreamHandler):
    """Writes to standard error, above the progress bars if some are drawn there."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            self.stream = sys.stderr  # setStream would flush the one before, which may be closed
            super().emit(record)


class _Visible(logging.Formatter):
    """Names and texts of files are part of many lines: none of them acts on the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def setup(level: int = logging.INFO) -> None:
    """Sends the project's log to standard error, on process 0 only. Called once, by the program's entry point."""
    handler = _AboveBars()
    handler.setFormatter(_Visible("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(_from_speaker)
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _TELLING_TWICE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _without_late_answers
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # of XLA's C++ too: errors alone
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    look_for_no_tpu_in_vain()


def look_for_no_tpu_in_vain() -> None:
    """Keeps jax from starting libtpu where it is installed but no TPU is there (the pod check needs it): that prints
    several lines of warnings about TPU hosts at each start.

    Nothing is done where the environment says which platforms to use, where another plugin of jax (a GPU's) is
    installed, or where anything of Google's is on the PCI bus. jax must not have been imported yet.
    """
    if "jax" in sys.modules or "JAX_PLATFORMS" in os.environ:
        return
    import importlib.metadata  # not above: `--help` pays for what it does not need
    import importlib.util

    there = importlib.util.find_spec
    if there("libtpu") is None or there("jax_plugins") is not None:
        return
    if importlib.metadata.entry_points(group="jax_plugins"):
        return
    vendors = glob.glob("/sys/bus/pci/devices/*/vendor")
    google = any(pathlib.Path(file).read_text().strip() == _GOOGLE for file in vendors)
    if not google and not glob.glob("/dev/accel*") and not glob.glob("/dev/vfio/[0-9]*"):
        os.environ["JAX_PLATFORMS"] = "cpu"


def _without_late_answers(unraisable: sys.UnraisableHookArgs) -> None:
    """A write that failed is told of; that others of its checkpoint answered when nobody listened any more is not."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class Bar(Protocol):
    """What is behind a progress bar."""

    def update(self, n: int) -> Any: ...
    def set_postfix_str(self, text: str, refresh: bool) -> Any: ...
    def close(self) -> Any: ...


class _Lines:
    """A progress bar as lines of the log: one every 30 seconds, with the speed since the one before."""

    def __init__(self, total: int | None, description: str, unit: str, initial: int):
        self._total, self._description, self._unit = total, description, unit
        self._done = self._initial = initial
        self._said = time.monotonic()
        self._from: tuple[int, float] = (initial, self._said)  # where the speed is counted from
        self._note = ""

    def update(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if self._from[0] == self._initial:  # the first one compiles: no measure of the others
            self._from = (self._done, now)
        if now - self._said < _SECONDS_BETWEEN_LINES:
            return
        of = f"/{self._total}" if self._total else ""
        parts = [f"{self._description}: {self._done}{of}"]
        done_before, time_before = self._from
        if self._done > done_before:
            each = (now - time_before) / (self._done - done_before)
            if self._total:
                left = tqdm.tqdm.format_interval((self._total - self._done) * each)
                parts.append(f"{left} left")
            speed = (
                f"{each:.2f} s/{self._unit}"
                if each > 1
                else f"{1 / max(each, 1e-9):.1f} {self._unit}/s"
            )
            parts.append(speed)
        log.info(", ".join([*parts, self._note] if self._note else parts))
        self._said, self._from = now, (self._done, now)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self._note = text

    def close(self) -> None: ...


class _Silence:
    """A progress bar that says nothing."""

    def update(self, n: int) -> None: ...
    def set_postfix_str(self, text: str, refresh: bool) -> None: ...
    def close(self) -> None: ...


def _bar(total: int | None, description: str, unit: str, initial: int) -> Bar:
    if not _is_speaker() or os.environ.get("T5X_LITE_PROGRESS") == "0":
        return _Silence()
    if not sys.stderr.isatty():
        return _Lines(total, description, unit, initial)
    return tqdm.tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        dynamic_ncols=True,
        mininterval=0.2,
        maxinterval=0.5,
        leave=False,
        delay=_SECONDS_BEFORE_A_NESTED_BAR if _open_bars else 0,
    )


class progress:
    """A progress bar with an ETA: `with progress(9, "training", "step") as bar: bar.update(1); bar.note("loss 2.1")`.

    Without a terminal it is a line of the log every 30 seconds; with T5X_LITE_PROGRESS=0 in the environment, nothing.
    A bar inside another one shows up only after 3 seconds.
    """

    def __init__(self, total: int | None, description: str, unit: str = "it", initial: int = 0):
        global _open_bars
        self._description = description
        self._bar = _bar(total, description, unit, initial)
        _open_bars += 1

    def update(self, n: int = 1) -> None:
        """Advances the bar by `n` units."""
        self._bar.update(n)

    def note(self, text: str, *, now: bool = False) -> None:
        """Shows a short text behind the bar (the loss, say), at its next update or `now`."""
        self._bar.set_postfix_str(text, refresh=now)

    def announce(self, text: str) -> None:
        """Says at once what is going to take a while (compiling, say): behind the bar, or in a line of its own."""
        if isinstance(self._bar, _Lines):
            log.info("%s: %s", self._description, text)
        else:
            self.note(text, now=True)

    def __enter__(self) -> progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _open_bars
        _open_bars -= 1
        self._bar.close()


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Says that something without steps is under way ("compiling"): a mark that turns, with the seconds, wiped at the
    end; without a terminal, a line of the log. Nothing is said of what takes less than a third of a second.
    """
    done = threading.Event()
    thread = threading.Thread(target=_turn, args=(text, done), daemon=True)
    if _is_speaker() and os.environ.get("T5X_LITE_PROGRESS") != "0":
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()


def _turn(text: str, done: threading.Event) -> None:
    begin = time.monotonic()
    if done.wait(_SECONDS_BEFORE_WAITING):
        return
    if not sys.stderr.isatty():
        log.info(text)
        return
    width = 0
    for frame in itertools.cycle(_FRAMES):
        line = f"{frame} {text}, {time.monotonic() - begin:.0f} s"
        width = max(width, len(line))
        sys.stderr.write(f"\r{line}")
        sys.stderr.flush()
        if done.wait(0.1):
            break
    sys.stderr.write(f"\r{' ' * width}\r")
    sys.stderr.flush()
