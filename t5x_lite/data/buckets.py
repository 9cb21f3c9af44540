"""Buckets: the few batch shapes that a run compiles, and what they cost in padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from t5x_lite.errors import InputError


class Shape(NamedTuple):
    """A batch's shape: rows of the global batch, and tokens a row."""

    encoder_length: int
    decoder_length: int
    rows: int


def choose_lengths(
    encoder_lengths: np.ndarray, decoder_lengths: np.ndarray, count: int, multiple: int
) -> list[tuple[int, int]]:
    """At most `count` (encoder_length, decoder_length) pairs, growing in both, that need the least
    padding.

    The encoder's edges are optimal (dynamic programming over all edges that are multiples of
    `multiple`); then each decoder edge is lowered while the few examples it turns away cost less,
    in the next bucket, than the pads it saves.

    Args:
      encoder_lengths: int [examples]. decoder_lengths: int [examples].
      count: the number of buckets. multiple: every length is one of its multiples.
    """
    encoder, decoder = (
        _round_up(np.asarray(x), multiple) for x in (encoder_lengths, decoder_lengths)
    )
    edges = _encoder_edges(encoder, count)
    pairs = []
    longest = 0
    for low, high in zip([0, *edges], edges, strict=False):
        inside = decoder[(encoder > low) & (encoder <= high)]
        longest = max(longest, int(inside.max()))
        pairs.append((high, longest))
    pairs[-1] = (edges[-1], int(decoder.max()))
    return _lower_decoder_edges(pairs, encoder, decoder, multiple)


def assign(
    lengths: Sequence[tuple[int, int]], encoder_lengths: np.ndarray, decoder_lengths: np.ndarray
) -> np.ndarray:
    """int [examples]: the first bucket that holds each example; `len(lengths)` where none does."""
    assigned = np.full(len(encoder_lengths), len(lengths))
    for bucket in reversed(range(len(lengths))):
        fits = (encoder_lengths <= lengths[bucket][0]) & (decoder_lengths <= lengths[bucket][1])
        assigned[fits] = bucket
    return assigned


def make_shapes(
    lengths: Sequence[tuple[int, int]], *, size: int, tokens: int, row_multiple: int
) -> tuple[Shape, ...]:
    """Gives each bucket its rows: `size`, or as many as fit `tokens` encoder tokens, in multiples
    of `row_multiple`.

    Raises:
      InputError: both or neither of size and tokens; a size that is not a multiple; a budget too
        small for one multiple; buckets that do not grow.
    """
    if (size > 0) == (tokens > 0):
        raise InputError(
            f"batch: set one of size and tokens and the other to 0 (size={size}, tokens={tokens})"
        )
    if size % row_multiple:
        raise InputError(
            f"batch.size: {size} rows are not a multiple of {row_multiple} (devices that share a"
            " batch x accumulation)"
        )
    shapes: list[Shape] = []
    for encoder_length, decoder_length in lengths:
        if shapes and (encoder_length <= shapes[-1][0] or decoder_length < shapes[-1][1]):
            raise InputError(
                f"batch.buckets: {list(lengths)} must grow: each bucket takes what the ones"
                " before leave"
            )
        rows = size or tokens // encoder_length // row_multiple * row_multiple
        if rows == 0:
            raise InputError(
                f"batch.tokens: {tokens} hold no {row_multiple} rows of {encoder_length} tokens;"
                " set at least"
                f" {encoder_length * row_multiple}"
            )
        shapes.append(Shape(encoder_length, decoder_length, rows))
    return tuple(shapes)


def _round_up(lengths: np.ndarray, multiple: int) -> np.ndarray:
    return np.maximum(1, -(-lengths // multiple)) * multiple


def _encoder_edges(lengths: np.ndarray, count: int) -> list[int]:
    """The edges that minimize the sum of padded lengths: best[k][j] covers the first j candidate
    edges with k buckets.
    """
    edges, rows = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(rows)])
    count = min(count, len(edges))
    best = np.full((count + 1, len(edges) + 1), np.inf)
    best[0, 0] = 0
    came_from = np.zeros((count + 1, len(edges) + 1), int)
    for k in range(1, count + 1):
        for j in range(1, len(edges) + 1):
            costs = best[k - 1, :j] + (below[j] - below[:j]) * edges[j - 1]
            came_from[k, j] = int(np.argmin(costs))
            best[k, j] = costs[came_from[k, j]]
    chosen, j = [], len(edges)
    for k in range(count, 0, -1):
        chosen.append(int(edges[j - 1]))
        j = came_from[k, j]
    return chosen[::-1]


def _lower_decoder_edges(
    pairs: list[tuple[int, int]], encoder: np.ndarray, decoder: np.ndarray, multiple: int
) -> list[tuple[int, int]]:
    def cost(candidate: list[tuple[int, int]]) -> int:
        padded = np.array([sum(pair) for pair in candidate])
        return int(padded[assign(candidate, encoder, decoder)].sum())

    for bucket in reversed(range(len(pairs) - 1)):  # the last one must hold everything
        options = [
            [*pairs[:bucket], (pairs[bucket][0], length), *pairs[bucket + 1 :]]
            for length in range(multiple, pairs[bucket + 1][1] + 1, multiple)
        ]
        best = min(options, key=cost)
        floor = best[bucket][1]
        pairs = [(e, min(d, floor)) for e, d in best[:bucket]] + best[bucket:]
    return pairs
