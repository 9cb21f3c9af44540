"""Regular expressions of others: matched in time that grows with the text alone.

RE2, which pyarrow brings, knows no backtracking; it has no lookarounds and no references to groups either.
"""

from __future__ import annotations

import functools
import re

_MOST_CHARACTERS = 10_000
_OPEN_COUNT = re.compile(r"\{,\d")  # characters as they are, to RE2


class PatternError(ValueError):
    """No regular expression, or one that RE2 does not know."""


@functools.lru_cache(maxsize=1 << 14)
def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is of the pattern.

    >>> matches("(a+)+b", "a" * 1000)
    False

    Raises:
      PatternError: it is no regular expression, one with lookarounds or references, or a very long one.
    """
    import pyarrow
    import pyarrow.compute

    if len(pattern) > _MOST_CHARACTERS:
        raise PatternError(f"over {_MOST_CHARACTERS} characters")
    if _OPEN_COUNT.search(pattern):
        raise PatternError("a repetition {,N} without its lower bound")
    search, name = pyarrow.compute.match_substring_regex, pyarrow.scalar(text)
    try:
        search(name, pattern)  # alone: "a)|(b" is none
        return bool(search(name, f"\\A(?:{pattern})\\z").as_py())
    except (pyarrow.ArrowInvalid, UnicodeError) as error:  # half a surrogate pair is no character
        raise PatternError(str(error).splitlines()[0]) from error


def matches_own(pattern: str, text: str) -> bool:
    """`matches` for a pattern that the user wrote: one with lookarounds or references is Python's.

    Raises:
      re.error: it is no regular expression.
    """
    try:
        return matches(pattern, text)
    except PatternError:
        return re.fullmatch(pattern, text) is not None
