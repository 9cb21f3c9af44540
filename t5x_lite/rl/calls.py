"""Calls of a user's reward function: what it raises, returns or never returns, each with a stated answer."""

from __future__ import annotations

import dataclasses
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.errors import InputError, RewardFailed

# So often a waiting call looks for Ctrl-C, seconds.
_LOOKS = 0.2
_LONGEST_WAIT = 300.0


@dataclasses.dataclass(frozen=True)
class Calling:
    """How a function is called.

    retries: calls after the first, when one fails. wait_seconds: before the first of them, twice that before the next,
      and so on, up to five minutes. timeout_seconds: after which a call has failed; 0: never.
    """

    retries: int
    wait_seconds: float
    timeout_seconds: float


@dataclasses.dataclass(frozen=True)
class Call:
    """A function that gives a number a response, with what it is called with by name.

    where: what messages call it, "config.rewards.NAME (module:function)".
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    where: str
    calling: Calling

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        """float32 [responses]; True counts as 1, and False as 0.

        Raises:
          InputError: what the function itself calls bad input, or a result that is not one real number a response.
          RewardFailed: it raised something, called sys.exit, or did not return in time, also when asked again.
        """
        wait = self.calling.wait_seconds
        for left in range(self.calling.retries, -1, -1):
            try:
                return self._numbers(self._called(rows, responses), len(responses))
            except InputError:
                raise
            except (Exception, SystemExit) as error:
                reason = _told(error)
                if not left:
                    tried = (
                        f", the last of {self.calling.retries + 1} times"
                        if self.calling.retries
                        else ""
                    )
                    raise RewardFailed(f"{self.where} {reason}{tried}") from error
            log.warning("%s %s; asking again in %g s (%d left)", self.where, reason, wait, left)
            time.sleep(min(wait, _LONGEST_WAIT))
            wait *= 2
        raise AssertionError("unreachable")

    def _called(self, rows: Sequence[Row], responses: Sequence[str]) -> Any:
        if not self.calling.timeout_seconds:
            return self.function(rows, responses, **self.arguments)
        outcome: dict[str, Any] = {}

        def call() -> None:
            try:
                outcome["result"] = self.function(rows, responses, **self.arguments)
            except BaseException as error:
                outcome["error"] = error

        # One that never returns is left behind, and ends with the process.
        thread = threading.Thread(target=call, daemon=True)
        end = time.monotonic() + self.calling.timeout_seconds
        thread.start()
        while thread.is_alive() and (rest := end - time.monotonic()) > 0:
            thread.join(min(rest, _LOOKS))
        if "error" in outcome:
            raise outcome["error"]
        if "result" not in outcome:
            raise TimeoutError(f"no answer within {self.calling.timeout_seconds:g} s")
        return outcome["result"]

    def _numbers(self, given: Any, count: int) -> np.ndarray:
        try:
            scores = np.asarray(given)
        except ValueError as error:  # lists of unlike lengths
            raise InputError(f"{self.where} gave {given!r:.60}; {_WANTED}") from error
        if scores.dtype.kind not in "biuf" and scores.dtype.name != "bfloat16":
            raise InputError(f"{self.where} gave {_named(scores)}; {_WANTED}")
        if scores.shape != (count,):
            raise InputError(
                f"{self.where} gave the shape {scores.shape} for {count} responses; {_WANTED}"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and left out
            return scores.astype(np.float32)


_WANTED = "expected one number a response"


def _named(scores: np.ndarray) -> str:
    kinds = {"c": "complex numbers", "U": "texts", "S": "bytes", "M": "dates", "m": "times"}
    first = scores.reshape(-1)[:1].tolist()
    other = f"values of the type {type(first[0]).__name__ if first else scores.dtype.name}"
    return (
        f"{kinds.get(scores.dtype.kind, other)} (the first is {first[0] if first else None!r:.40})"
    )


def _told(error: BaseException) -> str:
    """What happened, in one line: with the file and line of the function's own code that it came from."""
    if isinstance(error, SystemExit):
        what = f"called sys.exit({error.code if error.code is not None else ''})"
    else:
        text = " ".join(str(error).split())[:200]
        what = f"failed: {type(error).__name__}{f': {text}' if text else ''}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    return f"{what} ({frames[0].filename}:{frames[0].lineno})" if frames else what
