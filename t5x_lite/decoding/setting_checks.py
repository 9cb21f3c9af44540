"""Checks of single generation settings; each message names the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.errors import InputError

_INT32 = 2**31 - 1


def bad(name: str, value: Any, expected: str) -> InputError:
    """The error of a field whose value is not what was expected."""
    return InputError(f"generation.{name} = {value!r}: expected {expected}")


def check_ids(name: str, ids: Any) -> None:
    """Refuses what is no list of token ids."""
    if isinstance(ids, str) or not isinstance(ids, Sequence | np.ndarray):
        raise bad(name, ids, "a list of token ids")
    for token in ids:
        check_number(name, token, integer=True, scalar=True, low=0)


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
    array = np.asarray(value)
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
