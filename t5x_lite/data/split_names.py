"""The names that splits go by."""

from __future__ import annotations

# As `datasets` has them.
SPLITS = (
    ("train", "training"),
    ("validation", "valid", "val", "dev", "development"),
    ("test", "testing", "eval", "evaluation"),
)


def names_of(split: str) -> tuple[str, ...]:
    """All names of a split, its own among them.

    >>> names_of("dev")[0], names_of("challenge")
    ('validation', ('challenge',))
    """
    return next((names for names in SPLITS if split in names), (split,))


def is_split(name: str) -> bool:
    """Whether that is what splits are called."""
    return any(name in names for names in SPLITS)
