"""The names that splits go by."""

from __future__ import annotations

import re
from collections.abc import Sequence

# As `datasets` has them.
SPLITS = (
    ("train", "training"),
    ("validation", "valid", "val", "dev", "development"),
    ("test", "testing", "eval", "evaluation"),
)


def is_same(name: str, split: str) -> bool:
    """Whether two names are of one split.

    >>> is_same("Validation", "dev"), is_same("test", "dev")
    (True, False)
    """
    return name == split or name.lower() in _names_of(split.lower())


def is_split(name: str) -> bool:
    """Whether that is what splits are called."""
    return any(name.lower() in names for names in SPLITS)


def of_path(place: str, split: str) -> bool:
    """Whether a path says that it is of a split: by the name of the file, or else of the nearest folder that says any.

    >>> of_path("my_dev-01.csv", "validation"), of_path("train_test/test.csv", "train"), of_path("dataTrain/0", "train")
    (True, False, True)
    """
    # "dataTrain" is two words; "trainer" is one.
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", place).lower()
    for part in reversed(words.split("/")):
        if any(_has_word(part, names) for names in (*SPLITS, (split.lower(),))):
            return _has_word(part, _names_of(split.lower()))
    return False


def _has_word(text: str, words: Sequence[str]) -> bool:
    any_word = "|".join(map(re.escape, words))
    return re.search(rf"(?<![a-z0-9])(?:{any_word})(?![a-z])", text) is not None


def _names_of(split: str) -> tuple[str, ...]:
    return next((names for names in SPLITS if split in names), (split,))
