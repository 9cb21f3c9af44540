"""Truncation by a stated policy: only the named field is cut, never the template's own words, and
cuts are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from t5x_lite.console import log
from t5x_lite.data.templates import Template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

POLICIES = ("error", "end", "middle", "oldest_turns")
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

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise InputError(
                f"data.truncation: {self.policy!r} is not one of {', '.join(POLICIES)}"
            )

    def count(self, row: Mapping[str, str], before: int, after: int) -> None:
        """Counts a row of `before` tokens that keeps `after`. Raises InputError under the policy
        "error".
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

    def report(self) -> None:
        """One warning line, if anything was cut."""
        if self.rows:
            log.warning(
                "%s: cut %d rows to %d tokens by the policy %r (%d tokens dropped; the longest"
                " had %d)",
                self.name, self.rows, self.length, self.policy, self.tokens, self.longest,
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
      InputError: `cut_field` is not in the template, a row is too long under "error", or the
        template alone is.
    """
    if cuts.policy != "error" and cut_field not in template.fields:
        raise InputError(
            f"data.cut_field: {cut_field!r} is not in the template {template.text!r}; it has"
            f" {', '.join(template.fields)}"
        )
    encoded = vocabulary.encode([template.render(row) for row in rows], add_eos=True)
    for number, (row, ids) in enumerate(zip(rows, encoded, strict=True)):
        if len(ids) > cuts.length:
            if cuts.policy == "error":
                cuts.count(row, len(ids), len(ids))
            encoded[number] = _cut(row, template, vocabulary, cuts, cut_field)
            cuts.count(row, len(ids), len(encoded[number]))
    return encoded


def _cut(
    row: Mapping[str, str], template: Template, vocabulary: Vocabulary, cuts: Cuts, cut_field: str
) -> list[int]:
    def encode(text: str) -> list[int]:
        return vocabulary.encode([template.render({**row, cut_field: text})], add_eos=True)[0]

    text = row[cut_field]
    if cuts.policy == "oldest_turns":
        turns = text.strip("\n").split("\n")

        # At least the newest turn stays; if it does not fit alone, its end goes.
        def newest(kept: int) -> str:
            return "\n".join(turns[len(turns) - kept :])

        best = _most(encode, newest, 1, len(turns) - 1, cuts.length)
        if best is not None:
            return best
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
    return best


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
