"""Truncation by a stated policy: only the named field is cut, never the template's own words, and
cuts are counted.

Of a conversation the newest turns matter most, of an article its lead. "oldest_turns" therefore cuts a text that has no
turns at its end, and the warning says how many those were.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from t5x_lite.console import log
from t5x_lite.data.templates import Template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

POLICIES = ("error", "end", "middle", "oldest_turns")
START, MIDDLE, END = "start", "middle", "end"  # what a text may lose
# A line that someone says: "#Person1#: Hi", "Ann : Hi", also with a full-width colon.
_SPOKEN = re.compile(r"\s*\S[^:\n\uff1a]{0,40}[:\uff1a](?!//)")
GAP = " ... "  # what the "middle" policy leaves where it cut, so that the model can see the seam


@dataclass
class Cuts:
    """What was cut from one set of sequences: refuses under "error", counts under every other
    policy.

    Raises:
      InputError: an unknown policy.
    """

    name: str
    length: int
    policy: str
    rows: int = 0
    tokens: int = 0
    longest: int = 0
    lost: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(
                f"data.truncation: {self.policy!r} is not one of {', '.join(POLICIES)}"
            )

    def count(self, row: Mapping[str, str], before: int, after: int, lost: str = END) -> None:
        """Counts a row of `before` tokens that keeps `after`; `lost` says which part went. Raises InputError under the
        policy "error".
        """
        if self.policy == "error":
            raise InputError(
                f"{self.name}: row {row.get('id', '?')!r} has {before} tokens, over the limit of"
                f" {self.length}; raise the"
                " length, or choose data.truncation of end, middle, oldest_turns"
            )
        self.rows += 1
        self.tokens += before - after
        self.longest = max(self.longest, before)
        self.lost[lost] += 1

    def report(self) -> None:
        """One warning line, if anything was cut."""
        if self.rows:
            parts = " and ".join(f"{self.lost[part]} their {part}" for part in sorted(self.lost))
            why = ""
            if self.policy == "oldest_turns" and self.lost[END]:
                why = (
                    " (no turns in them, lines with a speaker, or the last turn too long by itself)"
                )
            log.warning(
                "%s: cut %d rows to %d tokens by the policy %r (%d tokens dropped; the longest"
                " had %d): %s lost%s",
                self.name, self.rows, self.length, self.policy, self.tokens, self.longest, parts, why,
            )  # fmt: skip


def fit(
    rows: Sequence[Mapping[str, str]],
    template: Template,
    vocabulary: Vocabulary,
    cuts: Cuts,
    cut_field: str,
) -> list[list[int]]:
    """The token ids of each rendered row, eos included, cut by the policy of `cuts` to at most its
    length.

    Raises:
      InputError: `cut_field` is not in the template, or empty in a row; a row is too long under "error", or the
        template alone is.
    """
    if cuts.policy != "error" and cut_field not in template.fields:
        raise InputError(
            f"data.cut_field: {cut_field!r} is not in the template {template.text!r}; it has"
            f" {', '.join(template.fields)}"
        )
    if empty := [row for row in rows if not row.get(cut_field, cut_field)]:
        raise InputError(
            f"{cuts.name}: row {empty[0].get('id', '?')!r} has no text in {cut_field!r}, which data.cut_field names,"
            " and by which inputs are told apart; name a field that every row has"
        )
    encoded = vocabulary.encode([template.render(row) for row in rows], add_eos=True)
    for number, (row, ids) in enumerate(zip(rows, encoded, strict=True)):
        if len(ids) > cuts.length:
            if cuts.policy == "error":
                cuts.count(row, len(ids), len(ids))
            encoded[number], lost = _cut(row, template, vocabulary, cuts, cut_field)
            cuts.count(row, len(ids), len(encoded[number]), lost)
    return encoded


def has_turns(text: str) -> bool:
    """Whether the text is a conversation: lines with a speaker, at least half of them, or several of one speaker.

    >>> has_turns("Ann: Hi.\\nBob: Ho."), has_turns("The lead.\\n\\nThen: the rest.\\nAnd more.")
    (True, False)
    """
    lines = [line for line in text.split("\n") if line.strip()]
    spoken = [match[0].strip() for line in lines if (match := _SPOKEN.match(line))]
    return len(spoken) > 1 and (2 * len(spoken) >= len(lines) or len(set(spoken)) < len(spoken))


def _cut(
    row: Mapping[str, str], template: Template, vocabulary: Vocabulary, cuts: Cuts, cut_field: str
) -> tuple[list[int], str]:
    """The ids that fit, and which part of the field went."""

    def encode(text: str) -> list[int]:
        return vocabulary.encode([template.render({**row, cut_field: text})], add_eos=True)[0]

    text = row[cut_field]
    if cuts.policy == "oldest_turns" and has_turns(text):
        turns = text.strip("\n").split("\n")

        # At least the newest turn stays; if it does not fit alone, its end goes.
        def newest(kept: int) -> str:
            return "\n".join(turns[len(turns) - kept :])

        best = _most(encode, newest, 1, len(turns) - 1, cuts.length)
        if best is not None:
            return best, START
        text = turns[-1]
    spans = vocabulary.boundaries(text)

    def keep(kept: int) -> str:
        if cuts.policy != "middle":
            return text[: spans[kept - 1][1]] if kept else ""
        head, tail = (kept + 1) // 2, kept // 2
        start = text[: spans[head - 1][1]] if head else ""
        return start + GAP + (text[spans[len(spans) - tail][0] :] if tail else "")

    best = _most(encode, keep, 1, len(spans) - 1, cuts.length)
    if best is None:
        raise InputError(
            f"{cuts.name}: the template alone takes {len(encode(''))} of {cuts.length} tokens and"
            " leaves no room for"
            f" {cut_field!r} (row {row.get('id', '?')!r}); raise the length or shorten the template"
        )
    return best, MIDDLE if cuts.policy == "middle" else END


def _most(
    encode: Callable[[str], list[int]], keep: Callable[[int], str], low: int, high: int, length: int
) -> list[int] | None:
    """The ids for the largest `kept` in low..high whose text fits, by bisection; None if none
    does.
    """
    best = None
    while low <= high:
        middle = (low + high) // 2
        ids = encode(keep(middle))
        if len(ids) <= length:
            best, low = ids, middle + 1
        else:
            high = middle - 1
    return best
