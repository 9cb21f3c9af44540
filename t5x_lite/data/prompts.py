"""Prompt kinds: what a model is asked with, from the dialogue alone to solved examples, reasoning and documents.

Sources: FLAN's templates and its "\\n\\n\\n" between solved examples (Wei et al. 2022, arXiv:2109.01652); chain of
thought (Wei et al. 2022, arXiv:2201.11903; "Let's think step by step": Kojima et al. 2022, arXiv:2205.11916), several
chains and the answer they agree on (Wang et al. 2023, arXiv:2203.11171); retrieval (Lewis et al. 2020,
arXiv:2005.11401).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError

DOCUMENTS_FIELD = "documents"


@dataclasses.dataclass(frozen=True)
class NoPrompt:
    """The row's text alone."""


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """An instruction: a template by name (the lab's `instruction`, `what_was_going_on`, FLAN's `flan_0` to `flan_6`) or
    one's own text with {fields}.
    """

    template: str


@dataclasses.dataclass(frozen=True)
class FewShot:
    """Solved examples before the question; one of them is one-shot.

    Each is the template with its row, `before_answer`, the target's text and `separator`; the question is the template.
    The lab's template ends with a newline and needs nothing before the answer; FLAN's other ones take "\\n\\n".
    """

    template: str
    shots: tuple[
        int, ...
    ]  # numbers of rows of the shots' source, from 0, in the order of the prompt
    before_answer: str
    separator: str


@dataclasses.dataclass(frozen=True)
class ChainOfThought:
    """Asks for reasoning; the answer is what follows the last of the phrases `answer_after`, or all where none occurs.

    With several `samples` (self-consistency) the answer that agrees best with all of them is taken; the decoding
    settings must then sample.
    """

    template: str
    answer_after: tuple[str, ...]
    samples: int


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The `passages` best passages of the text files in `folder` ("bundled": those that ship) as {documents} in the
    template, best first.
    """

    template: str
    folder: str
    passages: int


Prompt = NoPrompt | ZeroShot | FewShot | ChainOfThought | Retrieval

KINDS: dict[str, type[Any]] = {
    "none": NoPrompt,
    "zero_shot": ZeroShot,
    "few_shot": FewShot,
    "chain_of_thought": ChainOfThought,
    "retrieval": Retrieval,
}


def read_prompt(mapping: Mapping[str, Any], where: str) -> Prompt:
    """A prompt from its section of a config: "kind", and exactly that kind's fields. `where` is the section's name.

    Raises:
      InputError: an unknown kind, a field too many, missing or of the wrong type, or an unknown template.
    """
    kind = mapping.get("kind")
    if kind not in KINDS:
        raise InputError(f"{where}.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    fields = {field.name: field for field in dataclasses.fields(KINDS[kind])}
    for name in mapping:
        if name != "kind" and name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(fields) or 'none'}"
            raise InputError(f"{where}.{name}: prompts of kind {kind!r} have no such field; {hint}")
    values = {}
    for name in fields:
        if name not in mapping:
            raise InputError(f"{where}.{name} is missing")
        values[name] = _checked(f"{where}.{name}", name, mapping[name])
    prompt: Prompt = KINDS[kind](**values)
    _check_template(prompt, where)
    return prompt


def _checked(where: str, name: str, value: Any) -> Any:
    """The value of one field; its name decides the type."""
    if name in ("shots", "answer_after"):
        kind, expected = (int, "row numbers") if name == "shots" else (str, "phrases")
        if isinstance(value, str) or not isinstance(value, Sequence) or not len(value):
            raise InputError(f"{where} must be a tuple of {expected}, got {value!r}")
        for item in value:
            if not isinstance(item, kind) or isinstance(item, bool) or item in ("", -1):
                raise InputError(f"{where} must be a tuple of {expected}, got {value!r}")
        if name == "shots" and (min(value) < 0 or len(set(value)) < len(value)):
            raise InputError(f"{where} must be different row numbers from 0, got {value!r}")
        return tuple(value)
    if name in ("samples", "passages"):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{where} must be a whole number >= 1, got {value!r}")
        return value
    if not isinstance(value, str) or (not value and name in ("template", "folder")):
        raise InputError(f"{where} must be a text, got {value!r}")
    return value


def _check_template(prompt: Prompt, where: str) -> None:
    if isinstance(prompt, NoPrompt):
        return
    try:
        fields = find_template(prompt.template).fields
    except InputError as error:
        raise InputError(f"{where}.{error}") from error
    if isinstance(prompt, Retrieval) and DOCUMENTS_FIELD not in fields:
        raise InputError(
            f"{where}.template: {prompt.template!r} has no place for {{{DOCUMENTS_FIELD}}}; put it where the"
            " passages belong"
        )


def template_text(prompt: Prompt, field: str) -> str:
    """The template of a prompt's question; `field` is the row's text, e.g. "dialogue"."""
    return f"{{{field}}}" if isinstance(prompt, NoPrompt) else find_template(prompt.template).text


def extract_answer(prompt: Prompt, output: str) -> str:
    """The answer in a model's output: of a chain of thought, what follows the last of its phrases.

    >>> thought = ChainOfThought("{dialogue}", ("the answer is",), samples=1)
    >>> extract_answer(thought, "Tom is late, so the answer is: Tom comes at ten.")
    'Tom comes at ten.'
    >>> extract_answer(thought, "Tom is late.")
    'Tom is late.'
    """
    if not isinstance(prompt, ChainOfThought):
        return output
    lowered = output.casefold()
    ends = [
        at + len(phrase)
        for phrase in prompt.answer_after
        if (at := lowered.rfind(phrase.casefold())) >= 0
    ]
    # casefold may change the length of a text (ß): then the places do not count.
    if not ends or len(lowered) != len(output):
        return output
    return output[max(ends) :].lstrip(" :\n").strip() or output


def warn_of_leaks(
    shots: Sequence[Mapping[str, str]],
    rows: Sequence[Mapping[str, str]],
    *,
    field: str,
    same_split: bool,
    name: str,
) -> dict[str, int]:
    """Warns where solved examples give evaluated answers away, in one line each.

    Args:
      shots: the rows that the prompt `name` shows solved.
      rows: the evaluated rows.
      field: the rows' text; equal texts are one dialogue (case and white space aside).
      same_split: whether the shots come from the evaluated source and split.

    Returns:
      {"shots from the evaluated split", "prompts that contain their own answer"}: counts.
    """

    def key(row: Mapping[str, str]) -> str:
        return " ".join(row[field].casefold().split())

    evaluated, shown = {key(row) for row in rows}, {key(row) for row in shots}
    leaked = len(shots) if same_split else sum(key(row) in evaluated for row in shots)
    own = sum(key(row) in shown for row in rows)
    if leaked:
        log.warning(
            "prompts.%s: %d of %d solved examples come from the evaluated split: take them from training rows",
            *(name, leaked, len(shots)),
        )
    if own:
        log.warning(
            "prompts.%s: %d of %d prompts show their own answer among the solved examples: their scores mean nothing",
            *(name, own, len(rows)),
        )
    return {
        "shots from the evaluated split": leaked,
        "prompts that contain their own answer": own,
    }
