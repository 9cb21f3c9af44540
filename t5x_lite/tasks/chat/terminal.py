"""Where a person types and reads: texts of many lines, and when one is done. All that the task `chat` shows goes
through here or through the log.
"""

from __future__ import annotations

import select
import sys

from t5x_lite.foreign.visible import visible

_FIRST, _MORE = "> ", "  "
# Lines that are there this soon after the one before belong to one paste, which a person's next line does not.
_SECONDS_WITHIN_A_PASTE = 0.05


class Terminal:
    """Standard input and output, of a person (`is_terminal`) or of a pipe.

    Answers go to standard output. All else goes to standard error, but for the prompt, which stands where the answers
    do if both are one terminal.
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stdin.isatty()
        self._edits = self.is_terminal and sys.stdout.isatty() and _line_editing()

    def read(self) -> str | None:
        """The next text, or a command (a first line that starts with "/"); None where the input ends.

        An empty line sends what stands before it, and so does the end of the input. Blank lines within a paste are part
        of the text: the terminal marks a paste, and where it does not, its lines are there at once.

        Raises:
          KeyboardInterrupt: Ctrl-C; what was typed is gone.
        """
        lines: list[str] = []
        while True:
            try:
                entered = self._line(_MORE if lines else _FIRST)
            except EOFError:
                self.note("")  # the shell's prompt, or an answer, does not stand behind ours
                return _text(lines) or None
            except UnicodeDecodeError as error:
                self.note(f"not UTF-8 ({error.reason}): this line is left out")
                continue
            if not lines and entered.startswith("/") and "\n" not in entered:
                return entered.strip()
            # A paste is one entry of many lines. That its last one is empty is what an empty line is otherwise.
            lines += entered.split("\n")
            if not lines[-1].strip() and not self._has_more() and (text := _text(lines)):
                return text
            if not _text(lines):
                lines = []

    def read_all(self) -> str:
        """All of a pipe.

        Raises:
          UnicodeDecodeError: it is not UTF-8.
        """
        return sys.stdin.buffer.read().decode("utf-8")

    def write(self, piece: str) -> None:
        """Shows a piece of an answer at once."""
        sys.stdout.write(visible(piece))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A line to the person, none of the answer's."""
        sys.stderr.write(f"{visible(text)}\n")
        sys.stderr.flush()

    def _line(self, prompt: str) -> str:
        if self._edits:
            return input(prompt)
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")

    def _has_more(self) -> bool:
        return bool(select.select([sys.stdin], [], [], _SECONDS_WITHIN_A_PASTE)[0])


def _line_editing() -> bool:
    """Arrow keys, history, and pastes as one entry, where Python has GNU readline; False where it has none at all."""
    try:
        import readline
    except ImportError:
        return False
    if "libedit" not in (readline.__doc__ or ""):
        readline.parse_and_bind("set enable-bracketed-paste on")
    return True


def _text(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n") if any(line.strip() for line in lines) else ""
