"""Retrieval: the passages of a folder of text files that fit a query best, by the words they share (BM25) or by the
vectors of a sentence encoder.

Source: Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond"; the package bm25s
(Lucene's variant, k1 = 1.5, b = 0.75).
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import bm25s
import numpy as np

from t5x_lite.errors import InputError

# texts -> float32 [texts, dim]: what `t5x_lite.load_encoder(...).embed` is.
Embed = Callable[[Sequence[str]], np.ndarray]

BUNDLED_DOCUMENTS = pathlib.Path(__file__).parent / "bundled" / "documents"

_SUFFIXES = (".txt", ".md")
# A paragraph longer than this is several passages: a prompt has room for a few short ones.
_MOST_WORDS = 120
_WORD = re.compile(r"\w+")


class Passage(NamedTuple):
    """A paragraph of a document."""

    text: str
    place: str  # "file:line" of its first line
    score: float  # against the query: BM25, or the product of the vectors


class Passages:
    """The paragraphs (separated by empty lines) of all .txt and .md files below a folder, searchable.

    Args:
      folder: a local folder, or "bundled" for the documents that ship with the package.
      embed: makes the vectors by which passages are found; None: BM25.

    Raises:
      InputError: no such folder, no text in it, or a file that is not UTF-8.
    """

    def __init__(self, folder: str, embed: Embed | None = None):
        path = BUNDLED_DOCUMENTS if folder == "bundled" else pathlib.Path(folder).expanduser()
        if not path.is_dir():
            raise InputError(f"{folder}: there is no such folder of documents")
        files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
        self._passages = [passage for file in files for passage in _paragraphs(file)]
        if not self._passages:
            raise InputError(f"{folder}: no text in its {' and '.join(_SUFFIXES)} files")
        self._embed = embed
        if embed is not None:
            self._vectors = embed([passage.text for passage in self._passages])
            return
        self._index = bm25s.BM25()
        self._index.index([_words(p.text) for p in self._passages], show_progress=False)

    def __len__(self) -> int:
        return len(self._passages)

    def search(self, query: str, count: int) -> list[Passage]:
        """The `count` best passages, best first; by BM25 fewer where fewer share a word with the query. Ties: in file
        order.
        """
        return self.search_all([query], count)[0]

    def search_all(self, queries: Sequence[str], count: int) -> list[list[Passage]]:
        """`search` of several queries: their vectors are made together."""
        if self._embed is not None:
            return [self._best(row, count) for row in self._embed(queries) @ self._vectors.T]
        found = [self._word_scores(query) for query in queries]
        return [[p for p in self._best(scores, count) if p.score > 0] for scores in found]

    def _word_scores(self, query: str) -> np.ndarray:
        words = _WORD.findall(query.casefold())
        # "???" has none.
        return self._index.get_scores(words) if words else np.zeros(len(self), np.float32)

    def _best(self, scores: np.ndarray, count: int) -> list[Passage]:
        order = np.argsort(-scores, kind="stable")[:count]
        return [self._passages[i]._replace(score=float(scores[i])) for i in order]


def _words(text: str) -> list[str]:
    # A passage without words (a rule of dashes) must not be empty for the index.
    return _WORD.findall(text.casefold()) or [""]


def _paragraphs(file: pathlib.Path) -> list[Passage]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: not UTF-8 text ({error.reason}); convert or remove it"
        ) from error
    passages: list[Passage] = []
    words: list[str] = []
    first = 0
    for number, line in enumerate([*lines, ""], start=1):
        if not words:
            first = number
        words += line.split()
        while len(words) > _MOST_WORDS or (words and not line.strip()):
            passages.append(Passage(" ".join(words[:_MOST_WORDS]), f"{file}:{first}", 0.0))
            words, first = words[_MOST_WORDS:], number
    return passages
