"""What was drawn independently: rows of one prompt, dialogue or person are one draw, however many they are.

A hold-out that puts such rows on both sides is none, and an interval that counts them one by one is too narrow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from t5x_lite.data.templates import find_template
from t5x_lite.data.values import id_key

# The field of a row that says it in so many words (`columns: {"group": "patient"}`); else its prompt does.
GROUP = "group"
_ANSWERS = ("response", "raw_response", "chosen", "rejected")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Which rows belong together, int64 [rows] each, numbered by first occurrence.

    inputs: equal for rows of one whole input, whose targets are several references of it.
    groups: equal for rows that were drawn together, as questions about one text are.
    """

    inputs: np.ndarray
    groups: np.ndarray


def drawn(rows: Sequence[Mapping[str, str]], templates: Sequence[str], cut_field: str) -> Drawn:
    """What rows have in all fields of the templates is their input; what in `cut_field`, or "group", their group.

    >>> rows = [{"text": "T", "ask": ask} for ask in ("Who?", "Why?", "Who?")]
    >>> found = drawn(rows, ["{text} {ask}"], "text")
    >>> found.inputs.tolist(), found.groups.tolist()
    ([0, 1, 0], [0, 0, 0])
    """
    asked = [field for text in templates for field in find_template(text).fields]
    fields = [
        field for field in dict.fromkeys([cut_field, *asked]) if all(field in row for row in rows)
    ]
    numbers: dict[tuple[str, ...], int] = {}
    inputs = [numbers.setdefault(tuple(row[f] for f in fields), len(numbers)) for row in rows]
    return Drawn(np.array(inputs, np.int64), group_numbers(rows, (cut_field,)))


def prompt_fields(template: str) -> tuple[str, ...]:
    """The fields of a template that are the prompt: all but the response.

    >>> prompt_fields("{response}\\n{dialogue}")
    ('dialogue',)
    """
    return tuple(field for field in find_template(template).fields if field not in _ANSWERS)


def group_keys(rows: Sequence[Mapping[str, str]], fields: Sequence[str]) -> list[str]:
    """What each row was drawn with: its field "group" (compared as ids are: 7 and 7.0 are one person), or what it has
    in `fields`, case and white space aside.
    """
    return [id_key(row[GROUP]) if GROUP in row else text_key(row, fields) for row in rows]


def text_key(row: Mapping[str, str], fields: Sequence[str]) -> str:
    """What a row has in `fields`, case and white space aside."""
    return "\n".join(_folded(row[field]) for field in fields)


def group_numbers(rows: Sequence[Mapping[str, str]], fields: Sequence[str]) -> np.ndarray:
    """int64 [rows]: equal for rows of one group, numbered by first occurrence; each row its own without `fields`.

    >>> rows = [{"dialogue": "Hi"}, {"dialogue": "Ho"}, {"dialogue": " hi "}]
    >>> group_numbers(rows, ["dialogue"]).tolist()
    [0, 1, 0]
    """
    if not fields and not all(GROUP in row for row in rows):
        return np.arange(len(rows))
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(key, len(numbers)) for key in group_keys(rows, fields)], np.int64
    )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
