"""What a field may hold beside its type: rules with their words, choices by kind, kinds that many fields are."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value of the right type must fulfil. words: said after the type's own."""

    words: str
    accepts: Callable[[Any], bool]


@dataclasses.dataclass(frozen=True)
class Expected(Rule):
    """A rule whose words stand in place of the type's."""

    accepts: Callable[[Any], bool] = lambda value: True


def AtLeast(least: float) -> Rule:
    """A number from `least` on."""
    return Rule(f">= {least:g}", lambda value: value >= least)


def AtMost(most: float) -> Rule:
    """A number up to `most`."""
    return Rule(
        f"<= {most:,}" if isinstance(most, int) else f"<= {most:g}", lambda value: value <= most
    )


def Below(limit: float) -> Rule:
    """A number under `limit`."""
    return Rule(f"< {limit:g}", lambda value: value < limit)


def Above(limit: float) -> Rule:
    """A number over `limit`."""
    return Rule(f"> {limit:g}", lambda value: value > limit)


def OneOf(*choices: str) -> Expected:
    """One of these strings, for what is a plain string elsewhere; otherwise `Literal` says it."""
    words = "one of " + ", ".join(map(repr, choices))
    return Expected(words, lambda value: value in choices)


Count = Annotated[int, AtLeast(1)]
CountOrNone = Annotated[int, AtLeast(0)]  # 0: none, or off
Amount = Annotated[float, AtLeast(0)]
Fraction = Annotated[float, AtLeast(0), Below(1)]
Share = Annotated[float, AtLeast(0), AtMost(1)]
Name = Annotated[str, Expected("a string that is not empty", bool)]
# What jax.random.key and numpy's generators take alike.
Seed = Annotated[int, Expected("a whole number from 0 to 2**31 - 1", lambda v: 0 <= v < 2**31)]
Pairs = Annotated[tuple[tuple[str, str], ...], Expected("pairs of a name and the workdir of a run")]
RowNumbers = Annotated[tuple[CountOrNone, ...], Expected("a tuple of row numbers from 0")]
Range = Annotated[
    tuple[()] | tuple[int, int],
    Expected(
        "() or two growing whole numbers (lowest, one above the highest)",
        lambda v: not v or 1 <= v[0] < v[1],
    ),
]
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+)s)?|(\d+(?:\.\d+)?)")


def seconds_of(text: str) -> float:
    """The seconds of a duration as `Duration` has it: minutes, or "1h30m"; 0 for "".

    >>> seconds_of("90") == seconds_of("1h30m") == seconds_of("1h29m60s") == 5400
    True

    Raises:
      ValueError: it is no duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration")
    hours, minutes, seconds, alone = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * (minutes + alone) + seconds


Duration = Annotated[
    str,
    Expected("'' or a duration, in minutes ('90') or as '1h30m'", _DURATION.fullmatch),
]
Published = Annotated[
    Mapping[str, Mapping[str, Share]],
    Expected("a mapping of names to scores between 0 and 1, {'a paper': {'rouge1': 0.35}}"),
    "Scores that others published, shown beside those of this run; {} for none.",
]


@dataclasses.dataclass(frozen=True)
class ByKind:
    """Several sections, told apart by the field `tag`, which is none of their own."""

    tag: str
    kinds: Mapping[str, type]

    def kind_of(self, section: Any) -> str:
        """What the tag of a section says."""
        return next(kind for kind, cls in self.kinds.items() if type(section) is cls)
