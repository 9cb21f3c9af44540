"""The choices of every row, and which of them is right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.data.values import id_key
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.tasks.rank_classification.sections import DataSettings

_SHOWN = 5  # choices that a message lists


@dataclasses.dataclass(frozen=True)
class Choices:
    """Of each row its choices, and the number of the right one, int64 [rows]."""

    texts: list[tuple[str, ...]]
    gold: np.ndarray

    @property
    def alike(self) -> bool:
        """Whether all rows have the same choices: the answers are classes then."""
        return len(set(self.texts)) == 1


def check_choices(data: DataSettings) -> None:
    """Refuses fields that are no columns, before the rows are read.

    Raises:
      InputError: as said.
    """
    wanted = {field: "template" for field in find_template(data.template).fields}
    wanted |= {field: "choices" for text in data.choices for field in Template(text).fields}
    wanted |= {data.cut_field: "cut_field", data.gold_field: "gold_field"}
    if data.choices_field:
        wanted[data.choices_field] = "choices_field"
    columns = data.evaluation.columns
    for field, where in wanted.items():
        if field not in columns and field != "id":
            raise InputError(
                f"config.data.{where} names {field!r}, but config.data.evaluation.columns has"
                f" {', '.join(columns) or 'nothing'}: say which column it is"
            )


def read_choices(data: DataSettings, rows: Sequence[Row]) -> Choices:
    """The choices of rows that `wiring.text.read_rows` read, the field `choices_field` being a list.

    Raises:
      InputError: a row with fewer than two choices, an empty one or two that are equal, or whose right one is not among
        them.
    """
    answers = [row[data.gold_field].strip() for row in rows]
    if data.choices_field:
        texts = [tuple(json.loads(row[data.choices_field])) for row in rows]
    elif data.choices:
        templates = [Template(text) for text in data.choices]
        texts = [tuple(template.render(row) for template in templates) for row in rows]
    else:
        texts = [tuple(dict.fromkeys(answers))] * len(rows)
    gold = []
    for row, own, answer in zip(rows, texts, answers, strict=True):
        place = f"{data.evaluation.source}: row {row['id']!r}"
        if len(own) < 2 or len(set(own)) < len(own) or not all(text.strip() for text in own):
            raise InputError(
                f"{place}: expected two or more choices, different and none empty; found {_some(own)}"
            )
        gold.append(_number(data, place, own, answer))
    return Choices(texts, np.array(gold, np.int64))


def _number(data: DataSettings, place: str, own: tuple[str, ...], answer: str) -> int:
    """Which of a row's choices is right."""
    if data.gold == "text":
        stripped = [text.strip() for text in own]
        if answer in stripped:
            return stripped.index(answer)
        wanted = f"one of its choices ({_some(own)})"
    else:
        number = id_key(answer)  # 1.0, as a column of numbers with a gap has it, is 1
        if number.isdecimal() and int(number) < len(own):
            return int(number)
        wanted = f"the number of a choice, 0 to {len(own) - 1}"
    raise InputError(
        f"{place}: config.data.gold_field {data.gold_field!r} is {answer!r}, not {wanted}"
    )


def _some(own: Sequence[str]) -> str:
    shown = ", ".join(map(repr, own[:_SHOWN]))
    return (shown or "none") + (f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else "")


def encode_choices(
    texts: Sequence[tuple[str, ...]], vocabulary: Vocabulary
) -> list[list[list[int]]]:
    """The tokens of each row's choices, eos included: without it, the beginning of another choice would never be less
    likely than that one. A choice that many rows have is encoded once.
    """
    different = list(dict.fromkeys(text for own in texts for text in own))
    ids = dict(zip(different, vocabulary.encode(different, add_eos=True), strict=True))
    encoded = [[ids[text] for text in own] for own in texts]
    same = sum(len({tuple(choice) for choice in own}) < len(own) for own in encoded)
    if same:
        log.warning(
            "%d of %d rows have choices that the vocabulary spells alike; of those, the first counts as chosen",
            *(same, len(texts)),
        )
    return encoded
