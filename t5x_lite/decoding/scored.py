"""Outputs with what they are worth: text, tokens, a beam's score, and each token's log-probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.generate import GenerationOutput
from t5x_lite.params.gather import whole


class ScoredText(NamedTuple):
    """One output. All arrays end where the text does: eos, where there is one, is the last token.

    With HF's names: `score` is sequences_scores; `processed_logprobs` are compute_transition_scores(...,
    normalize_logits=True) without beams, and compute_transition_scores(...) with them.
    """

    text: str
    tokens: np.ndarray  # int32 [length]
    # Of beams, sum(processed_logprobs) / length ** length_penalty; None without beams.
    score: float | None
    # float32 [length], natural logarithms.
    logprobs: np.ndarray  # under the model itself, whatever the token was chosen with
    processed_logprobs: (
        np.ndarray
    )  # under what it was chosen from: after temperature, top_k, penalties, ...

    @property
    def logprob(self) -> float:
        """Of the whole output under the model: the sum of `logprobs`, in nats."""
        return float(np.sum(self.logprobs, dtype=np.float64))


def scored_texts(output: GenerationOutput, vocabulary: Vocabulary) -> list[ScoredText]:
    """The rows of an output that was generated `with_logprobs`."""
    tokens, lengths = whole(output.tokens), whole(output.lengths)
    logprobs, processed = whole(output.logprobs), whole(output.processed_logprobs)
    scores = [None] * len(tokens) if output.scores is None else whole(output.scores).tolist()
    texts = vocabulary.decode(tokens)
    return [
        ScoredText(texts[i], tokens[i, :n], scores[i], logprobs[i, :n], processed[i, :n])
        for i, n in enumerate(lengths)
    ]
