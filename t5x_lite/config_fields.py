"""What a field of a config may hold, each with the words for it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Field:
    """One field: `expected` says in words what `accepts` checks."""

    expected: str
    accepts: Callable[[Any], bool]


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))


def is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def is_mapping(value: Any) -> bool:
    return hasattr(value, "items")


def whole(lowest: int) -> Field:
    return Field(f"a whole number >= {lowest}", lambda v: is_int(v) and v >= lowest)


def number(lowest: float, highest: float = math.inf) -> Field:
    expected = f"a number >= {lowest:g}" + (f" and <= {highest:g}" if highest < math.inf else "")
    return Field(expected, lambda v: is_number(v) and lowest <= v <= highest)


def fraction() -> Field:
    return Field("a number >= 0 and < 1", lambda v: is_number(v) and 0 <= v < 1)


def one_of(*values: str) -> Field:
    return Field("one of " + ", ".join(map(repr, values)), lambda v: v in values)


def mapping(expected: str, accepts: Callable[[Any], bool]) -> Field:
    def accepted(value: Any) -> bool:
        return is_mapping(value) and all(
            isinstance(k, str) and accepts(v) for k, v in value.items()
        )

    return Field(expected, accepted)


def is_size(value: Any) -> bool:
    return is_int(value) and value >= 1


def is_bucket(value: Any) -> bool:
    return is_sequence(value) and len(value) == 2 and all(map(is_size, value))


@dataclasses.dataclass(frozen=True)
class Named:
    """A section whose names are the user's own, each holding a section of `fields`."""

    fields: Mapping[str, Any]


TEXT = Field("a string", lambda v: isinstance(v, str))
NAME = Field("a string that is not empty", lambda v: isinstance(v, str) and bool(v))
FLAG = Field("True or False", lambda v: isinstance(v, bool))
# What jax.random.key and numpy's generators take alike.
SEED = Field("a whole number from 0 to 2**31 - 1", lambda v: is_int(v) and 0 <= v < 2**31)
AXIS = Field(
    "a whole number above 0, or -1 for the rest", lambda v: is_int(v) and (v > 0 or v == -1)
)
STRINGS = Field(
    "a tuple of strings", lambda v: is_sequence(v) and all(isinstance(x, str) for x in v)
)
COLUMNS = mapping("a mapping of template fields to column names", lambda v: isinstance(v, str))
SETTINGS = mapping("a mapping", lambda v: True)  # the room that reads it knows its fields
PUBLISHED = mapping(
    "a mapping of names to scores between 0 and 1, {'a paper': {'rouge1': 0.35}}",
    mapping("", lambda v: is_number(v) and 0 <= v <= 1).accepts,
)
BUCKETS = Field(
    "a number of buckets, or pairs ((encoder_length, decoder_length), ...)",
    lambda v: is_size(v) or (is_sequence(v) and len(v) > 0 and all(map(is_bucket, v))),
)
LENGTHS = Field(
    "a tuple of growing whole numbers >= 2",
    lambda v: (
        is_sequence(v)
        and len(v) > 0
        and all(is_int(x) and x > 1 for x in v)
        and all(a < b for a, b in itertools.pairwise(v))
    ),
)
