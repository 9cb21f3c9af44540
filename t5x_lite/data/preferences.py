"""Preference pairs: a prompt with a chosen and a rejected response, read from rows or appended by a labeller."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.errors import InputError

CHOSEN, REJECTED = "chosen", "rejected"


def pair_texts(rows: Sequence[Row], template: str) -> tuple[list[str], list[str]]:
    """The texts a reward model compares: `template` filled with the chosen, and with the rejected response.

    template: its field {response} is the response; others are the rows' own ("{dialogue}\\n\\nSummary: {response}").

    Raises:
      InputError: rows without "chosen" or "rejected", or a template without {response}.
    """
    parsed = _with_response(template)
    for name in (CHOSEN, REJECTED):
        if rows and name not in rows[0]:
            raise InputError(
                f"config.data: preference pairs need the column {name!r}; name it in `columns`"
            )
    return (
        [parsed.render({**row, "response": row[CHOSEN]}) for row in rows],
        [parsed.render({**row, "response": row[REJECTED]}) for row in rows],
    )


def pair_examples(rows: Sequence[Row], template: str, tokenizer: ClassifierTokenizer) -> Examples:
    """Pairs as examples of two sequences: the chosen text is the encoder's, the rejected one the decoder's.

    (The batch plan buckets by both lengths; no decoder ever reads them.)
    """
    chosen, rejected = pair_texts(rows, template)
    return Examples(
        Ragged.from_lists(tokenizer.encode(chosen)), Ragged.from_lists(tokenizer.encode(rejected))
    )


def append_choice(path: pathlib.Path, row: Row, first: str, second: str, choice: int) -> None:
    """Appends a person's choice between two summaries to a JSONL file that the reward task trains on.

    choice: 1 or 2, whichever summary is better.

    Raises:
      InputError: the file cannot be written.
    """
    texts = (first, second)
    record = {
        **{name: value for name, value in row.items() if name != "id"},
        "id": row["id"],
        CHOSEN: texts[choice - 1],
        REJECTED: texts[2 - choice],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot write the choice ({error.strerror or error})") from error


def shown_order(row: Row, seed: int) -> bool:
    """Whether the first candidate is shown first: drawn, so that a person's liking for the left does not count."""
    return bool(np.random.default_rng([seed, *row["id"].encode()]).integers(2))


def _with_response(template: str) -> Template:
    parsed = find_template(template)
    if "response" not in parsed.fields:
        raise InputError(f"template {template!r}: the field {{response}} is missing")
    return parsed


def render_response(template: str, row: Mapping[str, str], response: str) -> str:
    """What a reward model reads: `template` with the row's fields and {response}."""
    return _with_response(template).render({**row, "response": response})
