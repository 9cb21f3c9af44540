"""Prompt kinds: what a model is asked with, from the dialogue alone to solved examples, reasoning and documents.

Sources: FLAN's templates and its "\\n\\n\\n" between solved examples (Wei et al. 2022, arXiv:2109.01652); chain of
thought (Wei et al. 2022, arXiv:2201.11903; "Let's think step by step": Kojima et al. 2022, arXiv:2205.11916), several
chains and the answer they agree on (Wang et al. 2023, arXiv:2203.11171); retrieval (Lewis et al. 2020,
arXiv:2005.11401).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from t5x_lite.console import log
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError
from t5x_lite.sections import ByKind, Count, CountOrNone, Expected, Name, Section

DOCUMENTS_FIELD = "documents"


class _Templated(Section):
    template: Annotated[Name, "The question: a template by name, or one's own text with {fields}."]

    def __post_init__(self) -> None:
        super().__post_init__()
        find_template(self.template)


class NoPrompt(Section):
    """The row's text alone."""


class ZeroShot(_Templated):
    """An instruction: a template by name (the lab's `instruction`, `what_was_going_on`, FLAN's `flan_0` to `flan_6`) or
    one's own text with {fields}.
    """


class FewShot(_Templated):
    """Solved examples before the question; one of them is one-shot.

    Each is the template with its row, `before_answer`, the target's text and `separator`; the question is the template.
    The lab's template ends with a newline and needs nothing before the answer; FLAN's other ones take "\\n\\n".
    """

    shots: Annotated[
        tuple[CountOrNone, ...],
        Expected("a tuple of different row numbers from 0", lambda v: v and len(set(v)) == len(v)),
        "Rows of `data.shots`, in the order of the prompt.",
    ]
    before_answer: Annotated[str, "Put between an example's question and its answer."]
    separator: Annotated[str, "Put behind each example."]


class ChainOfThought(_Templated):
    """Asks for reasoning; the answer is what follows the last of the phrases `answer_after`, or all where none occurs.

    With several `samples` (self-consistency) the answer that agrees best with all of them is taken; the decoding
    settings must then sample.
    """

    answer_after: Annotated[
        tuple[str, ...],
        Expected("a tuple of phrases", lambda v: v and all(v)),
        "The answer is what follows the last of these phrases.",
    ]
    samples: Annotated[
        Count, "Chains of which the answer that agrees best is taken; 1: the only one."
    ]


class Retrieval(_Templated):
    """The `passages` best passages of the text files in `folder` ("bundled": those that ship) as {documents} in the
    template, best first.
    """

    folder: Annotated[Name, "A folder of text files, or 'bundled'."]
    passages: Annotated[Count, "How many passages a prompt has, at most."]

    def __post_init__(self) -> None:
        super().__post_init__()
        if DOCUMENTS_FIELD not in find_template(self.template).fields:
            raise InputError(
                f"template: {self.template!r} has no place for {{{DOCUMENTS_FIELD}}}; put it where the"
                " passages belong"
            )


class DenseRetrieval(Retrieval):
    """`Retrieval` by the vectors of a sentence encoder, in place of the words that passages share with the row."""

    encoder: Annotated[
        Name, "A sentence encoder's directory or hub id (sentence-transformers/all-MiniLM-L6-v2)."
    ]


Prompt = NoPrompt | ZeroShot | FewShot | ChainOfThought | Retrieval | DenseRetrieval

PromptSection = Annotated[
    Prompt,
    ByKind(
        "kind",
        {
            "none": NoPrompt,
            "zero_shot": ZeroShot,
            "few_shot": FewShot,
            "chain_of_thought": ChainOfThought,
            "retrieval": Retrieval,
            "dense_retrieval": DenseRetrieval,
        },
    ),
    "What a model is asked with.",
]


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
