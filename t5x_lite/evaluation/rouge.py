"""ROUGE-1/2/L/Lsum, one F-measure a row, exactly as Google's `rouge_score` computes it, offline; in every script, by
words of our own where there are other letters than a-z (`rouge_tokens`).

Scores stay one a row, because intervals, paired tests and worst examples need rows; a corpus score is their plain mean.
(`evaluate.load("rouge")` returns the midpoint of an unseeded bootstrap instead, which differs from the mean
in the fourth decimal and from call to call.)

Source: Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries"; the package rouge_score 0.1.2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.evaluation.rouge_tokens import RougeTokenizer

if TYPE_CHECKING:
    from rouge_score import rouge_scorer

_MOST_WORDS = 2000  # of two texts, 4 million pairs: seconds
ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

# A sentence ends at . ! or ? before white space, unless the full stop belongs to a title; at the danda, the Arabic
# question mark and full stop likewise; at the full-width stops of Chinese and Japanese with or without white space.
_SENTENCE_END = re.compile(
    r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)(?<=[.!?\u0964\u0965\u061f\u06d4])\s+"
    r"|(?<=[\u3002\uff01\uff1f\uff61])(?![\u300d\u300f\u201d\s]|$)|(?<=[\u3002\uff01\uff1f\uff61])\s+"
)


@functools.cache
def tokenizer_for(use_stemmer: bool) -> RougeTokenizer:
    """The process's one tokenizer (and cache) with or without the stemmer."""
    return RougeTokenizer(use_stemmer)


def split_sentences(text: str) -> str:
    """One sentence a line, which is what ROUGE-Lsum scores by (ROUGE-1/2/L read a newline as any other space).

    >>> split_sentences("Mr. Lee calls. Who is it? 3.5 dollars.")
    'Mr. Lee calls.\\nWho is it?\\n3.5 dollars.'
    """
    return _SENTENCE_END.sub("\n", text.strip())


def score_rows(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    use_stemmer: bool,
    rouge_types: Sequence[str] = ROUGE_TYPES,
) -> dict[str, np.ndarray]:
    """F-measures of every row: {rouge type: float64 [rows], between 0 and 1}.

    A row has one reference (a string) or several (a sequence of strings). Several: the best F-measure over the
    references, for each ROUGE type on its own, as `rouge_score.RougeScorer.score_multi` and Hugging Face's `rouge`
    metric do (Lin's Perl script has a jackknife over references on top, which gives slightly lower numbers).

    Sentences are NOT split here: pass both sides through `split_sentences` first for ROUGE-Lsum.

    Raises:
        InputError: the two sides differ in length, there are no rows, or a row has no reference.
    """
    if len(predictions) != len(references):
        raise InputError(
            f"ROUGE needs one entry of references a prediction: got {len(predictions)} predictions and "
            f"{len(references)} references"
        )
    if not predictions:
        raise InputError("ROUGE of no rows is undefined: the evaluation data is empty")
    scorer = _scorer(tuple(rouge_types), use_stemmer)
    columns: dict[str, np.ndarray] = {kind: np.empty(len(predictions)) for kind in rouge_types}
    long = 0
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        several = [reference] if isinstance(reference, str) else list(reference)
        if _takes_long(prediction, several, use_stemmer):
            long += 1
            prediction = _beginning(prediction, use_stemmer)
            reference = [_beginning(text, use_stemmer) for text in several]
        if isinstance(reference, str):
            scores = scorer.score(reference, prediction)
        elif len(reference):
            scores = scorer.score_multi(list(reference), prediction)
        else:
            raise InputError(f"row {row} of the evaluation data has no reference to score against")
        for kind in rouge_types:
            columns[kind][row] = scores[kind].fmeasure
    if long:
        log.warning(
            "ROUGE: of %d of %d rows only the first %d words of output and reference are compared: its time grows with"
            " the product of their lengths",
            *(long, len(predictions), _MOST_WORDS),
        )
    return columns


def _takes_long(prediction: str, references: Sequence[str], use_stemmer: bool) -> bool:
    """Whether an output and a reference have more pairs of words than are compared in seconds."""
    longest = max((len(text) for text in references), default=0)
    if len(prediction) * longest <= _MOST_WORDS**2:  # a word has a character at least
        return False
    tokenize = tokenizer_for(use_stemmer).tokenize
    most = max(len(tokenize(text)) for text in references)
    return len(tokenize(prediction)) * most > _MOST_WORDS**2


def _beginning(text: str, use_stemmer: bool) -> str:
    """A text, or so much of it as has `_MOST_WORDS` words at most."""
    tokenize = tokenizer_for(use_stemmer).tokenize
    while (words := len(tokenize(text))) > _MOST_WORDS:
        text = text[: len(text) * _MOST_WORDS // words]
    return text


@functools.cache
def _scorer(rouge_types: tuple[str, ...], use_stemmer: bool) -> rouge_scorer.RougeScorer:
    from rouge_score import rouge_scorer  # as in rouge_tokens

    return rouge_scorer.RougeScorer(list(rouge_types), tokenizer=tokenizer_for(use_stemmer))


def agreement(one: str, other: str) -> float:
    """The mean of ROUGE-1, -2 and -L of two texts, symmetric: what minimum-Bayes-risk decoding chooses by."""
    scores = _scorer(("rouge1", "rouge2", "rougeL"), use_stemmer=True).score(one, other)
    return sum(score.fmeasure for score in scores.values()) / len(scores)
