"""Checks of single generation settings; each message names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.errors import InputError

_INT32 = 2**31 - 1
# Whole numbers that are written as 20.0 where settings are passed from hand to hand.
WHOLE = (
    *("max_new_tokens", "max_length", "min_new_tokens", "min_length", "top_k"),
    *("num_beams", "num_return_sequences", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
)
_SCALAR = ("num_", "no_repeat", "encoder_no")  # of them, those that are alike in all rows
# What other tools mean by a number that is none here: fields, the number, what it is called.
_MEANT = (
    (("temperature", "top_p"), 0, "; for the likeliest text leave it out, with do_sample=False"),
    (("top_k",), -1, "; 0 chooses among all"),
    (("top_p", "typical_p"), -1, "; 1 chooses among all"),
    (("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), -1, "; 0 is off"),
    (("suppress_tokens", "begin_suppress_tokens"), -1, "; leave it out to forbid none"),
    (("max_new_tokens", "max_length"), -1, "; say how many there may be"),
)


def bad(name: str, value: Any, expected: str) -> InputError:
    """The error of a field whose value is not what was expected."""
    hint = next((hint for names, off, hint in _MEANT if name in names and _is(value, off)), "")
    return InputError(f"generation.{name} = {value!r}: expected {expected}{hint}")


def _is(value: Any, number: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == number


def is_never(eos_token_id: Any) -> bool:
    """Whether no token ends a row: -1, as TRL's examples have it, which no token is."""
    array = _array(eos_token_id)
    return array.dtype.kind == "i" and np.array_equal(array.ravel(), [-1])


def _array(value: Any) -> np.ndarray:
    """The value as an array; lists of several lengths are none of numbers."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.asarray(None)


def check_ids(name: str, ids: Any) -> None:
    """Refuses what is no list of token ids."""
    if isinstance(ids, str) or not isinstance(ids, Sequence | np.ndarray):
        raise bad(name, ids, "a list of token ids")
    for token in ids:
        check_number(name, token, integer=True, scalar=True, low=0)


def check_token_id(name: str, value: Any) -> None:
    """Refuses what is no token id, nor for the ends of a text several, or -1."""
    if name == "eos_token_id" and is_never(value):
        return
    several = name in ("eos_token_id", "forced_eos_token_id")
    if several and isinstance(value, Sequence | np.ndarray):
        check_ids(name, value)
        if not len(value):
            raise bad(name, value, "at least one token id")
    else:
        check_number(name, value, integer=True, scalar=True, low=0)


def check_number(
    name: str,
    value: Any,
    *,
    integer: bool = False,
    scalar: bool = False,
    low: float = -math.inf,
    above: float = -math.inf,
    high: float = math.inf,
) -> None:
    """Refuses what is no number (or, unless `scalar`, array of numbers) within the bounds; `above` is exclusive."""
    if integer:
        high = min(high, _INT32)
    array = _array(value)
    kind = "an integer" if integer else "a finite number"
    bounds = [f">= {low:g}"] if low > -math.inf else []
    bounds += [f"> {above:g}"] if above > -math.inf else []
    bounds += [f"<= {high:g}"] if high < math.inf and high != _INT32 else []
    bounds += (
        ["below 2**31"]
        if high == _INT32 and array.dtype.kind in "iu" and np.any(array > high)
        else []
    )
    expected = " ".join([kind, " and ".join(bounds)]).strip()
    if array.dtype.kind not in ("iu" if integer else "iuf") or array.ndim > (0 if scalar else 1):
        raise bad(name, value, expected)
    if not np.all(np.isfinite(array) & (array >= low) & (array > above) & (array <= high)):
        raise bad(name, value, expected)


def check_whole(values: Mapping[str, Any]) -> None:
    """Refuses what is no whole number (or array of them) among the fields that are."""
    for name in WHOLE:
        if name in values:
            check_number(name, values[name], integer=True, scalar=name.startswith(_SCALAR))
