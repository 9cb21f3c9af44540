"""From rows to prompts within a budget of tokens: whole shots (or passages) go first, then the policy cuts the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from t5x_lite.console import log
from t5x_lite.data.prompts import (
    DOCUMENTS_FIELD,
    FewShot,
    Prompt,
    Retrieval,
    template_text,
)
from t5x_lite.data.retrieval import Embed, Passages
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import Template, find_template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

UNCUT = "none"  # beside the policies of truncation.py: nothing is dropped, and what is too long is counted

_SHOTS_FIELD = "_shots"
_BETWEEN_PASSAGES = "\n\n"


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long prompts may be.

    length: the most tokens of a prompt, eos included.
    policy: one of `truncation.POLICIES`, or "none": nothing is dropped, prompts over the budget are counted.
    name: what messages call the prompt.
    """

    length: int
    policy: str
    name: str


@dataclasses.dataclass(frozen=True)
class Built:
    """Prompts of one kind, in the order of the rows.

    texts: as rendered, with the shots or passages that were kept; the row's own text before it is cut.
    ids: their tokens, eos included: what the model reads.
    counts: what was dropped and cut, for the report.
    """

    texts: list[str]
    ids: list[list[int]]
    counts: dict[str, int]


def build_prompts(
    prompt: Prompt,
    rows: Sequence[Row],
    vocabulary: Vocabulary,
    *,
    shots: Sequence[Row],
    target: str,
    field: str,
    budget: Budget,
    embed: Embed | None = None,
) -> Built:
    """Renders and tokenizes the prompts of all rows, and says in counted warnings what did not fit.

    A prompt over the budget loses whole shots first, from the first one on (the last one stands next to the question),
    or whole passages, the worst first; then its row's own text is cut by the policy ("oldest_turns" drops the oldest
    lines of a dialogue). The words of the template are never cut.

    Args:
      rows: what is asked about.
      shots: the rows that a few-shot prompt shows solved, in order; others take none.
      target: template of a shot's answer.
      field: the rows' text that may be cut, e.g. "dialogue".
      embed: of the encoder that a `DenseRetrieval` names; others take none.

    Raises:
      InputError: a template that the rows cannot fill or that leaves the row no room, or a prompt over its budget
        under "error".
    """
    template, extras = _template_and_extras(prompt, rows, shots, target, (field, embed))
    drop_first = isinstance(prompt, FewShot)

    def render_rows(kept: Sequence[int]) -> list[dict[str, str]]:
        return [
            _with_extras(row, pieces[len(pieces) - count :] if drop_first else pieces[:count])
            for row, pieces, count in zip(rows, extras, kept, strict=True)
        ]

    kept = [len(pieces) for pieces in extras]
    texts = [template.render(row) for row in render_rows(kept)]
    ids = vocabulary.encode(texts, add_eos=True)
    lengths = [len(tokens) for tokens in ids]
    counts = {
        "prompts": len(rows),
        "longest, tokens": max(lengths),
        "over the budget": sum(n > budget.length for n in lengths),
    }
    if budget.policy == UNCUT:
        _warn_of_uncut(budget, counts)
        return Built(texts, ids, counts)
    if budget.policy != "error":
        _drop(template, vocabulary, render_rows, kept, lengths, budget.length)
    counts["dropped shots or passages"] = sum(map(len, extras)) - sum(kept)
    _warn_of_dropped(budget, extras, kept, "shots" if drop_first else "passages")
    fitted = render_rows(kept)
    cuts = Cuts(f"prompts.{budget.name}", budget.length, budget.policy)
    ids = fit(fitted, template, vocabulary, cuts, field)
    cuts.report()
    counts |= {"cut rows": cuts.rows, "cut tokens": cuts.tokens}
    return Built([template.render(row) for row in fitted], ids, counts)


def _with_extras(row: Row, chosen: Sequence[str]) -> dict[str, str]:
    """The row with what the template's places for shots and passages hold."""
    passages = _BETWEEN_PASSAGES.join(chosen)
    return {**row, _SHOTS_FIELD: "".join(chosen), DOCUMENTS_FIELD: passages}


def _warn_of_dropped(
    budget: Budget, extras: Sequence[Sequence[str]], kept: Sequence[int], what: str
) -> None:
    all_pieces = sum(map(len, extras))
    if dropped := all_pieces - sum(kept):
        shorter = sum(k < len(pieces) for k, pieces in zip(kept, extras, strict=True))
        log.warning(
            "prompts.%s: dropped %d of %d %s in %d of %d prompts to keep to %d tokens",
            *(budget.name, dropped, all_pieces, what, shorter, len(extras), budget.length),
        )


def _template_and_extras(
    prompt: Prompt,
    rows: Sequence[Row],
    shots: Sequence[Row],
    target: str,
    asked: tuple[str, Embed | None],
) -> tuple[Template, list[list[str]]]:
    """The template with a place for the extras, and each row's extras (shots or passages) in the prompt's order.

    asked: the field that passages are found by, and what makes vectors of it.
    """
    field, embed = asked
    text = template_text(prompt, field)
    if isinstance(prompt, FewShot):
        question, answer = Template(text), find_template(target)
        solved = [
            question.render(row) + prompt.before_answer + answer.render(row) + prompt.separator
            for row in shots
        ]
        return Template(f"{{{_SHOTS_FIELD}}}{text}"), [solved] * len(rows)
    if isinstance(prompt, Retrieval):
        passages = Passages(prompt.folder, embed)
        found = passages.search_all([row[field] for row in rows], prompt.passages)
        return Template(text), [[passage.text for passage in each] for each in found]
    return Template(text), [[] for _ in rows]


def _drop(
    template: Template,
    vocabulary: Vocabulary,
    rows: Callable[[Sequence[int]], list[dict[str, str]]],
    kept: list[int],
    lengths: Sequence[int],
    length: int,
) -> None:
    """Lowers `kept` of each row until its prompt fits or has no extras left; `rows(kept)` gives the rows with them."""
    over = [i for i, tokens in enumerate(lengths) if tokens > length and kept[i]]
    while over:
        for i in over:
            kept[i] -= 1
        rendered = rows(kept)
        shorter = vocabulary.encode([template.render(rendered[i]) for i in over], add_eos=True)
        over = [
            i for i, tokens in zip(over, shorter, strict=True) if len(tokens) > length and kept[i]
        ]


def _warn_of_uncut(budget: Budget, counts: Mapping[str, int]) -> None:
    if over := counts["over the budget"]:
        log.warning(
            "prompts.%s: %d of %d prompts have more than %d tokens (the longest %d), and the policy 'none' cuts"
            " nothing",
            *(budget.name, over, counts["prompts"], budget.length, counts["longest, tokens"]),
        )


def pick_shots(prompt: Prompt, source: Sequence[Row], where: str) -> list[Row]:
    """The rows that a few-shot prompt shows solved; none for the other kinds.

    Raises:
      InputError: a row number that the source does not have.
    """
    if not isinstance(prompt, FewShot):
        return []
    for number in prompt.shots:
        if number >= len(source):
            raise InputError(
                f"{where}.shots: there is no row {number} among the {len(source)} rows that shots come from"
            )
    return [source[number] for number in prompt.shots]
