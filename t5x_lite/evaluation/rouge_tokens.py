"""The words that ROUGE counts, in any script.

`rouge_score` knows a-z and 0-9 alone: it drops every other letter, so that equal Hindi texts score 0 and "größe" equals
"grüße". A text whose letters, marks and digits are all of ASCII gives its tokens, stems included. In every other text:

- a word is a run of letters, the marks on them, and digits (Unicode's L, M and Nd); anything else divides words, as in
  `rouge_score`. Its letters are normalized (NFKC: composed accents, full-width and half-width forms, ligatures) and in
  lower case. Joiners (U+200C, U+200D) and variation selectors behind other letters than those of ASCII are dropped.
- in scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Yi) each character with the
  marks on it is a word, as the multilingual benchmarks have it for Chinese. Korean words are those between its spaces.
- only words of ASCII letters are stemmed: the stemmer is an English one.

Source: rouge_score 0.1.2, whose tokenizer this extends; The Unicode Standard, Annexes 15 and 29.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator

NAME = "t5x_lite unicode words, version 1"
WHAT_IT_DOES = (
    "rouge_score's words for a-z and 0-9; other letters, with their marks, count too (NFKC, lower case, not stemmed),"
    " and each character of Chinese, Japanese, Thai, Lao, Khmer, Burmese and Yi is a word"
)

# First and last characters of the blocks of scripts that are written without spaces between words.
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # the ideographic repetition mark and zero
    (0x3040, 0x31FF),  # Hiragana, Katakana, Bopomofo
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),  # Han
    (0x1B000, 0x1B16F),  # Kana
    (0x20000, 0x3FFFF),  # Han
)
_HANGUL_IN_BETWEEN = (0x3130, 0x318F)  # letters of Korean, among those blocks
_LETTER, _ALONE, _MARK, _DROPPED, _BREAK = "letter", "alone", "mark", "dropped", "break"


class RougeTokenizer:
    """Words of a text, remembered: a text is tokenized once, not once a model.

    Tokens depend on the text alone, so remembering cannot change a score. Most of ROUGE's time is the Porter stemmer,
    and a corpus has few distinct words: stems are remembered too.
    """

    def __init__(self, use_stemmer: bool):
        # nltk, which takes seconds that a run's first step should not wait for.
        from rouge_score import tokenizers

        ascii_words = tokenizers.DefaultTokenizer(use_stemmer)
        if use_stemmer:
            ascii_words._stemmer.stem = functools.lru_cache(maxsize=1 << 17)(
                ascii_words._stemmer.stem
            )
        self._ascii_words = ascii_words
        self._remembered = functools.lru_cache(maxsize=1 << 15)(self._tokens)

    def tokenize(self, text: str) -> list[str]:
        """Its words, those of ASCII letters stemmed if over three characters. The list is shared: only read it."""
        return self._remembered(text)

    def _tokens(self, text: str) -> list[str]:
        if text.isascii():
            return self._ascii_words.tokenize(text)
        found: list[str] = []
        for word in words(text):
            found += self._ascii_words.tokenize(word) if word.isascii() else [word]
        return found


def has_other_letters(texts: Iterable[str]) -> bool:
    """Whether a text has letters or digits that `rouge_score` would have dropped: then its scores are not these."""
    return any(
        not text.isascii()
        and any(not c.isascii() and _kind(c) in (_LETTER, _ALONE, _MARK) for c in text)
        for text in texts
    )


def is_a_word_alone(character: str) -> bool:
    """Whether it is of a script that is written without spaces, in which each character counts as a word."""
    return _kind(character) == _ALONE


def words(text: str) -> Iterator[str]:
    """The words of a text in order, normalized and in lower case.

    >>> list(words("Größe: 10 m², 今天 ok"))
    ['größe', '10', 'm', '今', '天', 'ok']
    """
    for run in _runs(unicodedata.normalize("NFC", text)):
        # A ligature may come apart into several words (U+FDFA), hence the second time.
        yield from _runs(unicodedata.normalize("NFKC", run).lower(), alone=True)


def _runs(text: str, alone: bool = False) -> Iterator[str]:
    """Runs of letters, marks and digits; `alone`: with each character of scripts without spaces on its own."""
    run: list[str] = []
    for character in text:
        kind = _kind(character)
        if kind in (_LETTER, _ALONE):
            run.append(character)
        elif run and kind == _MARK:  # on a symbol or a space it is nobody's
            run[-1] += character
        elif run and kind == _DROPPED and not run[-1].isascii():
            continue
        else:
            yield from _joined(run, alone)
            run = []
    yield from _joined(run, alone)


def _joined(run: list[str], alone: bool) -> Iterator[str]:
    for single, group in itertools.groupby(run, key=lambda c: alone and _kind(c[0]) == _ALONE):
        if single:
            yield from group
        else:
            yield "".join(group)


@functools.lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if code in (0x200C, 0x200D) or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
        return _DROPPED
    if category == "Nd":
        return _LETTER
    if category in ("Mn", "Mc"):
        return _MARK
    if category.startswith("L") or character == "\u3007":
        hangul = _HANGUL_IN_BETWEEN[0] <= code <= _HANGUL_IN_BETWEEN[1]
        apart = any(first <= code <= last for first, last in _WITHOUT_SPACES) and not hangul
        return _ALONE if apart else _LETTER
    return _BREAK
