"""What ends a run early, told in one line: bad input, a stop that was asked for, numbers that are no longer finite."""

from __future__ import annotations

from collections.abc import Sequence

_EXAMPLES_SHOWN = 8


class InputError(ValueError):
    """Bad input: a config field, a file, a checkpoint or a flag that the user can put right.

    The message is one line that names the field, the file and line, or the parameter path, says what was expected,
    and what to do. `main` prints it without a traceback and exits with status 2; a library user catches it
    like any `ValueError`.
    """


class Stopped(Exception):
    """A run that a signal, a deadline or a notice of preemption ended in an orderly way: its checkpoint is written, the
    same command goes on from there. signal_number: 0 for the deadline, -1 for the notice.
    """

    def __init__(self, signal_number: int, step: int):
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.signal_number = signal_number
        self.step = step


class RewardFailed(Exception):
    """A reward function that raised something or never answered. The message is one line that names it.

    step: of the run, once the loop has filled it in. kept: what there is to go on from.
    """

    def __init__(self, message: str):
        super().__init__(message)
        self.step: int | None = None
        self.kept = ""

    def __str__(self) -> str:
        at = "" if self.step is None else f"step {self.step}: "
        return f"{at}{self.args[0]}{f'; {self.kept}' if self.kept else ''}"


class Diverged(Exception):
    """A run whose numbers are no longer finite, or whose loss leapt, by the section `divergence` of its config.

    first: the step at which it began. step: the one after which it ended. reason: in words. tensor: the path of the
    first tensor that is not finite, "" where none is known. examples: the ids of the batch of the step `first`.
    """

    def __init__(
        self, first: int, step: int, reason: str, tensor: str, examples: Sequence[str] = ()
    ):
        super().__init__(first, step, reason, tensor, examples)
        self.first, self.step, self.reason, self.tensor = first, step, reason, tensor
        self.examples = list(examples)
        self.kept = ""

    def __str__(self) -> str:
        """One line. `kept` says what there is to go on from."""
        parts = [f"diverged at step {self.first}: {self.reason}"]
        if self.step != self.first:
            parts[0] += f" by step {self.step}"
        if self.tensor:
            parts.append(f"the first tensor that is not finite is {self.tensor}")
        if self.examples:
            more = len(self.examples) - _EXAMPLES_SHOWN
            shown = ", ".join(self.examples[:_EXAMPLES_SHOWN]) + (
                f" and {more} more" if more > 0 else ""
            )
            parts.append(f"the batch of step {self.first} has the rows {shown}")
        return "; ".join([*parts, *([self.kept] if self.kept else [])])
