"""Prompt templates: strings with {fields}, by name or one's own."""

from __future__ import annotations

import string
from collections.abc import Mapping

from t5x_lite.errors import InputError

TEMPLATES: dict[str, str] = {
    "dialogue": "{dialogue}",
    "summary": "{summary}",
    # The course's labs (LLM course "Generative AI with LLMs"): lab 1's two prompts and the
    # fine-tuning prompt of lab 2.
    "instruction": "\nSummarize the following conversation.\n\n{dialogue}\n\nSummary:\n",
    "what_was_going_on": "\nDialogue:\n\n{dialogue}\n\nWhat was going on?\n",
    "finetune": "Summarize the following conversation.\n\n{dialogue}\n\nSummary: ",
    # FLAN's seven dialogue-summary templates (google-research/FLAN flan/templates.py, "samsum").
    "flan_0": "{dialogue}\n\nBriefly summarize that dialogue.",
    "flan_1": "Here is a dialogue:\n{dialogue}\n\nWrite a short summary!",
    "flan_2": "Dialogue:\n{dialogue}\n\nWhat is a summary of this dialogue?",
    "flan_3": "{dialogue}\n\nWhat was that dialogue about, in two sentences or less?",
    "flan_4": "Here is a dialogue:\n{dialogue}\n\nWhat were they talking about?",
    "flan_5": "Dialogue:\n{dialogue}\nWhat were the main points in that conversation?",
    "flan_6": "Dialogue:\n{dialogue}\nWhat was going on in that conversation?",
}


_IF_THERE = "+"


class Template:
    """A parsed template. Values are put in as they are, so braces in the data mean nothing.

    `{field:+part}` is a part, a template itself, that is left out where the field is empty (as `${field:+word}` in a
    shell): "{instruction}{input:+\\n\\n{input}}" of Alpaca's rows, whose `input` is empty as often as not.

    >>> Template("{dialogue} {{sic}}").render({"dialogue": "{a}"})
    '{a} {sic}'
    >>> [Template("{ask}{of:+ ({of})}?").render({"ask": "Why", "of": of}) for of in ("us", "")]
    ['Why (us)?', 'Why?']

    Raises:
      InputError: unbalanced braces, or a field that is not a plain name.
    """

    def __init__(self, text: str):
        self.text = text
        self._pieces: list[tuple[str, str | None, Template | None]] = []
        fields: dict[str, None] = {}
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise InputError(
                f"template {text!r}: {error}; write {{{{ or }}}} for a brace"
            ) from error
        for literal, field, spec, conversion in parsed:
            part = None
            if field is not None:
                if not field.isidentifier() or conversion or (spec and spec[0] != _IF_THERE):
                    raise InputError(
                        f"template {text!r}: {{{field}}} must be a plain field name, or {{name:+a part}}"
                    )
                part = Template(spec[1:]) if spec else None
                inner: tuple[str, ...] = part.fields if part else ()
                fields |= dict.fromkeys((field, *inner))
            self._pieces.append((literal, field, part))
        self.fields: tuple[str, ...] = tuple(fields)
        always = {field for _, field, part in self._pieces if part is None}
        self.optional = frozenset(fields) - always  # those that a row may lack

    def render(self, row: Mapping[str, str]) -> str:
        """The template with the row's values.

        Raises:
          InputError: a field that the row does not have; the message lists those it has.
        """
        for field in self.fields:
            if field not in row and field not in self.optional:
                raise InputError(
                    f"template {self.text!r}: unknown field {{{field}}}; the rows have"
                    f" {', '.join(sorted(row))}"
                )
        return "".join(literal + _value(row, field, part) for literal, field, part in self._pieces)


def _value(row: Mapping[str, str], field: str | None, part: Template | None) -> str:
    if field is None:
        return ""
    if part is None:
        return row[field]
    return part.render(row) if row.get(field, "").strip() else ""


def find_template(name_or_text: str) -> Template:
    """The template of that name in `TEMPLATES`, or, if there is a brace in it, the string itself
    as a template; "" is one of no text.

    Raises:
      InputError: neither a known name nor a string with a field.
    """
    if name_or_text in TEMPLATES:
        return Template(TEMPLATES[name_or_text])
    if name_or_text and "{" not in name_or_text:
        raise InputError(
            f"template {name_or_text!r} is not known; use one of {', '.join(TEMPLATES)}, or a"
            " string with a"
            " {field} in it"
        )
    return Template(name_or_text)


def render(name_or_text: str, row: Mapping[str, str]) -> str:
    """`find_template(name_or_text).render(row)`, for a single row."""
    return find_template(name_or_text).render(row)
