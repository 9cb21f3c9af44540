"""Which words a text does not share with another one, told apart for a page."""

from __future__ import annotations

import dataclasses
import difflib
import html
import itertools
import unicodedata
from collections.abc import Sequence

from t5x_lite.evaluation.rouge_tokens import is_a_word_alone, words
from t5x_lite.foreign.visible import visible

# What is compared and kept of a text: the time that matching takes grows with the square of the words, at the least.
_CHARACTERS = 2000
_WORDS = 150
_MORE = "…"


@dataclasses.dataclass(frozen=True)
class Marked:
    """A text in pieces, (text, whether it is marked). tag: of HTML, "ins" or "del"."""

    pieces: Sequence[tuple[str, bool]]
    tag: str

    def __str__(self) -> str:
        return "".join(text for text, _ in self.pieces)

    def html(self) -> str:
        """Escaped, the marked pieces in their tag, all of it with its own direction."""
        inner = [
            f"<{self.tag}>{html.escape(text)}</{self.tag}>" if marked else html.escape(text)
            for text, marked in self.pieces
        ]
        return f"<bdi>{''.join(inner)}</bdi>"


def cut(text: str) -> str:
    """What `marked_pair` looks at of a text, and "…" where there is more."""
    return text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + _MORE


def marked_pair(reference: str, output: str) -> tuple[Marked, Marked]:
    """The two texts, each with the words marked that the other one lacks, in the order that they come in: the
    reference's as deleted, the output's as inserted. Case and punctuation make no difference.

    Of each text the first 150 words and 2,000 characters are compared and kept; "…" says that there is more.

    >>> [marked.html() for marked in marked_pair("Tom met Ann.", "Tom called Ann")]
    ['<bdi>Tom <del>met</del> Ann.</bdi>', '<bdi>Tom <ins>called</ins> Ann</bdi>']
    """
    texts = [_tokens(cut(text)) for text in (reference, output)]
    # Where the words are among the tokens: those of each text that no match has taken.
    alone = [[n for n, token in enumerate(text) if _key(token)] for text in texts]
    keys = [[_key(text[n]) for n in places] for text, places in zip(texts, alone, strict=True)]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for a, b, size in reversed(matcher.get_matching_blocks()):
        del alone[0][a : a + size], alone[1][b : b + size]
    deleted, inserted = (_pieces(*both) for both in zip(texts, map(set, alone), strict=True))
    return Marked(deleted, "del"), Marked(inserted, "ins")


def _tokens(text: str) -> list[str]:
    """Words (of scripts without spaces, characters) and the spaces between them, up to the greatest number of words."""
    tokens: list[str] = []
    last, count = "", 0
    for character in visible(text).strip():
        kind = _kind(character)
        joins = kind == last != "alone" or (kind == "mark" and last not in ("", "space"))
        if joins:
            tokens[-1] += character
            continue
        if kind != "space" and (count := count + 1) > _WORDS:
            return [*tokens, _MORE]
        tokens.append(character)
        last = "word" if kind == "mark" else kind
    return tokens


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if unicodedata.category(character).startswith("M"):
        return "mark"
    return "alone" if is_a_word_alone(character) else "word"


def _key(token: str) -> str:
    """A word without case and punctuation, as ROUGE counts it; of signs alone, the signs; "" of spaces."""
    return " ".join(words(token)) or token.strip().replace(_MORE, "")


def _pieces(tokens: Sequence[str], alone: set[int]) -> list[tuple[str, bool]]:
    """Tokens side by side that are marked, or not, as one; a space is marked where both its neighbours are."""
    marks = [
        n in alone or (token.isspace() and {n - 1, n + 1} <= alone)
        for n, token in enumerate(tokens)
    ]
    grouped = itertools.groupby(zip(tokens, marks, strict=True), key=lambda both: both[1])
    return [("".join(token for token, _ in group), marked) for marked, group in grouped]
