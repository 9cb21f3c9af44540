"""What may be typed instead of a dialogue: /settings, /template, /again, /help, /quit."""

from __future__ import annotations

import ast
import difflib
import re
from typing import Any

from t5x_lite.data.templates import TEMPLATES
from t5x_lite.errors import InputError

HELP = """\
An empty line sends what you typed; blank lines within a paste do not. Ctrl-C stops an answer, Ctrl-D leaves.
  /settings                  what is generated with
  /settings temperature=0.7 do_sample=true
                             changes it, by the names of transformers' GenerationConfig
  /settings reset            back to the config's
  /template                  what a text is put into, and which templates there are
  /template flan_2           another one, by its name
  /template Sum up: {FIELD}\\nSummary:
                             one of your own; \\n is a line break
  /again                     the same text with another seed (for sampling)
  /help                      this
  /quit                      leaves"""
NAMES = ("/settings", "/template", "/again", "/help", "/quit")


def split_command(line: str) -> tuple[str, str]:
    """The command and what stands behind it.

    Raises:
      InputError: there is no such command.

    >>> split_command("/settings top_k=5")
    ('/settings', 'top_k=5')
    """
    name, _, rest = line.partition(" ")
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NAMES)}"
        raise InputError(f"{name}: there is no such command; {hint}")
    return name, rest.strip()


def read_settings(text: str) -> dict[str, Any]:
    """Settings from "name=value name=value"; a value is a Python literal, true, false, or else a text.

    Raises:
      InputError: no "=".

    >>> read_settings("do_sample=true temperature=0.7 stop_strings=['a b', '.'] early_stopping=never")
    {'do_sample': True, 'temperature': 0.7, 'stop_strings': ['a b', '.'], 'early_stopping': 'never'}
    """
    given = {}
    for part in re.split(r"\s+(?=\w+=)", text):
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"/settings {part}: write name=value, as in /settings top_k=5")
        given[name] = _value(value.strip())
    return given


def read_template(text: str) -> str:
    """A template's name, or a text in which \\n became a line break.

    >>> read_template(r"Sum up: {dialogue}\\n")
    'Sum up: {dialogue}\\n'
    """
    return text if text in TEMPLATES else text.replace("\\n", "\n")


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
