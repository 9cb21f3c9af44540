"""The one exception that means "the user can fix this"."""


class InputError(ValueError):
    """Bad input: a config field, a file, a checkpoint or a flag that the user can put right.

    The message is one line that names the field, the file and line, or the parameter path, says what was expected,
    and what to do. `main` prints it without a traceback and exits with status 2; a library user catches it
    like any `ValueError`.
    """


class Stopped(Exception):
    """A run that a signal ended in an orderly way: its checkpoint is written, the same command goes on from there."""

    def __init__(self, signal_number: int, step: int):
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.signal_number = signal_number
        self.step = step
