"""Preference pairs: a prompt with a chosen and a rejected response, read from rows."""

from __future__ import annotations

from collections.abc import Sequence

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


def _with_response(template: str) -> Template:
    parsed = find_template(template)
    if "response" not in parsed.fields:
        raise InputError(f"template {template!r}: the field {{response}} is missing")
    return parsed
