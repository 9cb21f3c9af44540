"""What a config may hold, each field declared once: see `section`."""

from t5x_lite.sections.described import Described, describe
from t5x_lite.sections.kinds import (
    Above,
    Amount,
    AtLeast,
    AtMost,
    Below,
    ByKind,
    Count,
    CountOrNone,
    Duration,
    Expected,
    Fraction,
    Name,
    OneOf,
    Pairs,
    Published,
    Range,
    RowNumbers,
    Rule,
    Seed,
    Share,
    seconds_of,
)
from t5x_lite.sections.section import (
    Config,
    Origin,
    Section,
    at_place,
    fields,
    plain,
    read,
    to_dict,
)

__all__ = [
    "Above", "Amount", "AtLeast", "AtMost", "Below", "ByKind", "Config", "Count", "CountOrNone",
    "Described", "Duration", "Expected", "Fraction", "Name", "OneOf", "Origin", "Pairs", "Published", "Range",
    "RowNumbers", "Rule", "Section", "Seed", "Share", "describe", "fields", "plain", "read",
    "at_place", "seconds_of", "to_dict",
]  # fmt: skip
