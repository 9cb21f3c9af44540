"""Seeded choices and the small markup language of the written material."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([a-zA-Z_]\w*)\}")
_AN_BEFORE = re.compile(r"\b([Aa])n? (?=(\w+))")
_SENTENCE_START = re.compile(r"(^|[.?!] +)([a-z])")


class Dice:
    """A seeded source of choices.

    It uses `Random.random()` alone: the one method whose sequence Python promises to keep between
    versions, so that a later Python makes the shipped bytes again.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def weighted(self, items: Sequence[Item], weights: Sequence[float]) -> Item:
        point = self._random.random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0:
                return item
        return items[-1]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]


def choose(text: str, dice: Dice) -> str:
    """Resolves every `[x|y|z]`, innermost first."""
    while match := _CHOICE.search(text):
        text = text[: match.start()] + dice.pick(match[1].split("|")) + text[match.end() :]
    return text


def slots_of(text: str) -> set[str]:
    """The names in `{...}`."""
    return set(_SLOT.findall(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fills `{slot}` in, also where a value holds a slot itself, and tidies the English."""
    while "{" in text:
        text = _SLOT.sub(lambda match: values[match[1]], text)
    return tidy(text)


def tidy(text: str) -> str:
    """Single spaces, "a" or "an" by the next word, a capital at the start of each sentence."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.?!])", r"\1", text)
    text = re.sub(r",([.?!])", r"\1", text)
    text = re.sub(r"^[,.] *", "", text)
    text = _AN_BEFORE.sub(lambda match: f"{match[1]}{'n' if _takes_an(match[2]) else ''} ", text)
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


def _takes_an(word: str) -> bool:
    word = word.lower()
    if word[0].isdigit():
        return word.startswith("8") or word in ("11", "18")
    if word.startswith(("one", "uni", "use", "eu")):
        return False
    return word[0] in "aeiou" or word.startswith(("hour", "honest"))


def words(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())
