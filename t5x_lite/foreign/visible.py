"""Texts of others where people look: what would colour a terminal or turn a line round is shown as its code."""

from __future__ import annotations

import re

# Controls but for tab and newline, and what embeds, overrides or isolates a direction (marks alone do no harm).
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with an escape for every character that acts on what shows it.

    >>> visible("\\x1b[31mred\\u202e on\\ttwo\\nlines")
    '\\\\x1b[31mred\\\\u202e on\\ttwo\\nlines'
    """
    return _ACTING.sub(_escaped, text)


def one_line(text: str) -> str:
    """`visible`, line breaks too.

    >>> one_line("a\\nb")
    'a\\\\nb'
    """
    return visible(text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
