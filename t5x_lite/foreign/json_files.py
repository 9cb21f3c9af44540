"""JSON of others: bounded in size and depth, with or without a byte order mark.

Values are as `json` has them but for half surrogate pairs ("\\ud83d" alone), which no encoding takes: U+FFFD stands for
each, as in the texts of data.
"""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from t5x_lite.errors import InputError
from t5x_lite.foreign.pointers import refuse_pointer

MOST_BYTES = 1 << 28  # the largest tokenizer.json there are have a tenth of it
MOST_DEPTH = 64
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_json(file: str | os.PathLike[str]) -> Any:
    """What a JSON file in UTF-8 holds.

    Raises:
      OSError: it cannot be read, or is no regular file (a pipe would block).
      ValueError: it is too large, or as `parse_json`; the message does not name the file.
    """
    path = pathlib.Path(file)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    with path.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    refuse_pointer(data, path)
    if len(data) > MOST_BYTES:
        raise ValueError(f"over {MOST_BYTES >> 20} MiB")
    return parse_json(data.decode("utf-8-sig"))


def read_object(file: str | os.PathLike[str], expected: str = "a JSON object") -> dict[str, Any]:
    """The fields of a JSON file that holds an object.

    Raises:
      InputError: it cannot be read, is no JSON, or holds something else.
    """
    try:
        fields = read_json(file)
    except OSError as error:
        raise InputError(f"{file}: cannot read it ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{file}: expected {expected} ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{file}: expected {expected}, found a {type(fields).__name__}")
    return fields


def parse_json(text: str, keep_halves: bool = False) -> Any:
    """The value that a JSON text describes.

    >>> parse_json('{"a": [1, null]}')
    {'a': [1, None]}

    Args:
      keep_halves: leaves half surrogate pairs as they are, for a caller that counts and replaces them.

    Raises:
      ValueError: it is none (`json.JSONDecodeError`, with its line), is nested too deeply, or holds a number with more
        digits than Python reads.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested over {MOST_DEPTH} deep") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("a number with thousands of digits") from None
    # Most texts have too few brackets to be deep.
    if text.count("[") + text.count("{") > MOST_DEPTH and _is_deep(value):
        raise ValueError(f"nested over {MOST_DEPTH} deep")
    return _whole(value) if not keep_halves and _HALF_PAIR.search(text) else value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [outer for outer in level if isinstance(outer, (dict, list))]
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return True


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value
