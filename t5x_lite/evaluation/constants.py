"""The best constant output: one text, found on training summaries, that scores highest when given for every dialogue.

A beam search writes the text word by word. Appending a word changes ROUGE-1, -2 and -L against every reference by
a few array operations, so all (beam, word) pairs are scored exactly and at once:

    letters: b beams, w candidate words, r references, t reference tokens

The result is no grammatical sentence, which makes it a harder opponent than one: on DialogSum dev (stemmed
ROUGE-1/2/L) .343/.068/.274, each by its own text, against .254/.050/.212 for "#Person1# asks #Person2# about
#Person2#'s and #Person2# tells #Person1# that ...".
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from t5x_lite import streams
from t5x_lite.errors import InputError
from t5x_lite.evaluation import rouge

OBJECTIVES = ("rouge1", "rouge2", "rougeL")

_BEAMS = 8
_WORDS = 100
_REFERENCES = 600
# References times their longest: bounds a step's largest array, 2 bytes x beams x words x this, to 67 MB.
_REFERENCE_TOKENS = 42_000


@dataclasses.dataclass
class _Beams:
    """Partial texts and what they have matched so far in every reference."""

    words: np.ndarray  # [b, length] indices into the candidate words
    hits1: np.ndarray  # [b, r] clipped unigram matches
    hits2: np.ndarray  # [b, r] clipped bigram matches
    used1: np.ndarray  # [b, stems] how often the text has a stem
    used2: np.ndarray  # [b, stems, stems] how often it has a bigram of stems
    lcs: np.ndarray  # [b, r, t + 1] longest common subsequence with each prefix of each reference

    def select(self, beams: np.ndarray) -> _Beams:
        return _Beams(*(getattr(self, field.name)[beams] for field in dataclasses.fields(self)))


def best_constants(
    train_summaries: Sequence[str],
    *,
    use_stemmer: bool,
    seed: int,
    candidates: Sequence[str] = (),
) -> Mapping[str, str]:
    """{rouge type: the best constant text found on training data}; ROUGE-Lsum shares ROUGE-L's.

    Each score gets its own opponent, so "beats the best constant" means the best for that score. `candidates` are
    texts to try beside the searched ones. Nothing of the evaluation data is seen, so the opponent is held to the
    same rule as the model. Scored on a seeded sample of 600 summaries; about 5 s on 2 cores.

    Raises:
        InputError: no training summaries, or none with a word in it.
    """
    rng = streams.generator(seed, "constants")
    order = rng.permutation(len(train_summaries))[:_REFERENCES]
    lengths = {i: len(rouge.tokenizer_for(False).tokenize(train_summaries[i])) for i in order}
    sample = [train_summaries[i] for i in order if lengths[i]]
    if not sample:
        raise InputError("the constant baseline needs training summaries with at least one word")
    # The search alone does without the longest 2 % (one outlier would stretch every array).
    longest = int(np.percentile([lengths[i] for i in order if lengths[i]], 98))
    short = [train_summaries[i] for i in order if 0 < lengths[i] <= longest]
    short = short[: max(1, _REFERENCE_TOKENS // longest)]
    texts = [*candidates, *(_search(short, objective, use_stemmer) for objective in OBJECTIVES)]
    best: dict[str, str] = {}
    means = [
        {
            kind: rows.mean()
            for kind, rows in rouge.score_rows(
                [text] * len(sample), sample, use_stemmer=use_stemmer, rouge_types=OBJECTIVES
            ).items()
        }
        for text in texts
    ]
    for kind in OBJECTIVES:
        best[kind] = texts[int(np.argmax([mean[kind] for mean in means]))]
    return best | {"rougeLsum": best["rougeL"]}


def _search(references: Sequence[str], objective: str, use_stemmer: bool) -> str:
    """The constant text that beam search finds for one objective."""
    plain, stemming = rouge.tokenizer_for(False), rouge.tokenizer_for(use_stemmer)
    frequency = collections.Counter(word for text in references for word in plain.tokenize(text))
    # Equal counts are broken by spelling, so that the result does not depend on the order of a hash.
    words = sorted(frequency, key=lambda word: (-frequency[word], word))[:_WORDS]
    stems = {
        stem: i for i, stem in enumerate(dict.fromkeys(stemming.tokenize(w)[0] for w in words))
    }
    stem_of = np.array([stems[stemming.tokenize(word)[0]] for word in words])  # [w]

    rows = [[stems.get(stem, -1) for stem in stemming.tokenize(text)] for text in references]
    lengths = np.array([len(row) for row in rows])  # [r]
    tokens, counts1, counts2 = _counted(rows, len(stems))
    matches = (tokens == stem_of[:, None, None]).astype(np.int16)  # [w, r, t]

    beams = _no_words(len(rows), len(stems), tokens.shape[1])
    best_text, best_score = "", -1.0
    for length in range(1, int(1.5 * lengths.mean()) + 2):
        last = stem_of[beams.words[:, -1]] if length > 1 else None
        new1 = counts1[:, stem_of].T[None] > beams.used1[:, stem_of, None]  # [b, w, r]
        hits1 = beams.hits1[:, None] + new1
        hits2 = np.repeat(beams.hits2[:, None], len(words), axis=1)  # [b, w, r]
        if last is not None:
            have = counts2[:, last][:, :, stem_of].transpose(1, 2, 0)  # [b, w, r]
            parents = np.arange(len(last))[:, None]
            used = beams.used2[parents, last[:, None], stem_of[None]]  # [b, w]
            hits2 = hits2 + (have > used[:, :, None])
        before = beams.lcs[:, None]  # [b, 1, r, t + 1]
        extended = np.maximum(before[..., 1:], before[..., :-1] + matches[None])
        # The table's new row is the running maximum of `extended` over t: its last entry is the maximum.
        ends = extended.max(axis=-1)  # [b, w, r]

        scores = {
            "rouge1": _fmeasure(hits1, length, lengths),
            "rouge2": _fmeasure(hits2, length - 1, lengths - 1),
            "rougeL": _fmeasure(ends, length, lengths),
        }
        # The other two scores, faintly, order what the objective cannot tell apart (no bigram exists after one word).
        ranking = scores[objective] + 0.05 * sum(scores.values())  # [b, w]
        order = np.argsort(-ranking, axis=None, kind="stable")[:_BEAMS]
        b, w = np.unravel_index(order, ranking.shape)

        kept = beams.select(b)
        arange = np.arange(len(b))
        if last is not None:
            kept.used2[arange, last[b], stem_of[w]] += 1
        kept.used1[arange, stem_of[w]] += 1
        kept.lcs[..., 1:] = np.maximum.accumulate(extended[b, w], axis=-1)
        kept.words = np.concatenate([kept.words, w[:, None]], axis=1)
        kept.hits1, kept.hits2 = hits1[b, w], hits2[b, w]
        beams = kept
        if scores[objective][b[0], w[0]] > best_score:
            best_score = scores[objective][b[0], w[0]]
            best_text = " ".join(words[i] for i in beams.words[0])
    return best_text


def _no_words(references: int, stems: int, length: int) -> _Beams:
    """One beam, the empty text."""
    return _Beams(
        words=np.zeros((1, 0), np.int64),
        hits1=np.zeros((1, references), np.int16),
        hits2=np.zeros((1, references), np.int16),
        used1=np.zeros((1, stems), np.int16),
        used2=np.zeros((1, stems, stems), np.int16),
        lcs=np.zeros((1, references, length + 1), np.int16),
    )


def _counted(rows: list[list[int]], stems: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of references as numbers of stems (-1: a word no text can contain): the tokens [r, t], filled up with -1, and how
    often each has a stem [r, stems] and a bigram of stems [r, stems, stems]."""
    tokens = np.full((len(rows), max(map(len, rows))), -1)
    counts1 = np.zeros((len(rows), stems), np.int16)
    counts2 = np.zeros((len(rows), stems, stems), np.int16)
    for r, row in enumerate(rows):
        tokens[r, : len(row)] = row
        for stem in row:
            counts1[r, stem] += stem >= 0
        for first, second in zip(row, row[1:], strict=False):
            counts2[r, first, second] += first >= 0 and second >= 0
    return tokens, counts1, counts2


def _fmeasure(hits: np.ndarray, length: int, lengths: np.ndarray) -> np.ndarray:
    """Mean over references of 2 hits / (text length + reference length): the harmonic mean of precision and recall."""
    return (2 * hits / np.maximum(length + np.maximum(lengths, 0), 1)).mean(axis=-1)
