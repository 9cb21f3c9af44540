"""BERTScore: how much of a text's meaning another has, by the contextual vectors of their tokens, matched greedily.

Source: Zhang et al. 2020, "BERTScore: Evaluating Text Generation with BERT" (arXiv:1904.09675), without weights by
rarity (idf) and without rescaling by a baseline; and their bert_score, in which special tokens may be matched but do
not count. The encoder is a local sentence encoder, and the vectors are its last hidden states: scores of two encoders
do not compare, nor with those that others published.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from t5x_lite.embedding.encoder import SentenceEncoder
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.rules import MESH_AXES

_ROWS = 256  # whose vectors are held at a time


def bert_scores(
    encoder: SentenceEncoder, predictions: Sequence[str], references: Sequence[str]
) -> np.ndarray:
    """Precision, recall and F1 of each row, float64 [rows, 3], between -1 and 1 (as cosines are).

    Precision is the mean over the prediction's tokens of the cosine to the most similar token of the reference, recall
    the same from the reference's side. A text without a token that counts has nothing in common: 0.

    It runs on this process's first device, whatever mesh surrounds it.

    Raises:
      InputError: as `SentenceEncoder.token_states`.
    """
    scores = np.zeros((len(predictions), 3))
    alone = make_mesh(dict.fromkeys(MESH_AXES, 1), jax.local_devices()[:1])
    for start in range(0, len(predictions), _ROWS):
        rows = slice(start, start + _ROWS)
        texts = list(dict.fromkeys([*predictions[rows], *references[rows]]))
        with on_mesh(alone):
            vectors = dict(zip(texts, map(_normed, encoder.token_states(texts)), strict=True))
        for row, (ours, theirs) in enumerate(
            zip(predictions[rows], references[rows], strict=True), start
        ):
            scores[row] = _matched(vectors[ours], vectors[theirs], encoder.around)
    return scores


def _matched(
    ours: np.ndarray, theirs: np.ndarray, around: tuple[int, int]
) -> tuple[float, float, float]:
    """Precision, recall and F1 of two texts' vectors of length 1, [tokens, embed] each.

    around: how many vectors at either end are those of special tokens.
    """
    before, behind = around
    if min(len(ours), len(theirs)) <= before + behind:
        return 0.0, 0.0, 0.0
    cosines = ours.astype(np.float64) @ theirs.T
    best_of_ours = cosines.max(axis=1)[before : len(ours) - behind]
    best_of_theirs = cosines.max(axis=0)[before : len(theirs) - behind]
    precision, recall = float(best_of_ours.mean()), float(best_of_theirs.mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def _normed(vectors: np.ndarray) -> np.ndarray:
    """The same vectors with length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
