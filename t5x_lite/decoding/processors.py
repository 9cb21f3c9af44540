"""Logit processors: rules that change next-token scores [row, vocab], equal to those of transformers.

Here `tokens` is int32 [row, 1 + capacity]: the decoder start token and what was generated; only `tokens[:, :step + 1]`
is filled when token number `step` (counted from 0: [], or [row] where rows began at different times) is chosen.

Nothing here sorts the vocabulary. Keeping the most likely tokens (top_k, top_p, typical_p) needs a threshold alone,
found by bisection over the bits of a float in 32 passes: 2.5 ms against 40 ms for a sort of [8, 32128] on one CPU.
Tokens of exactly equal score are kept or removed together, where transformers' sort decides by its order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from t5x_lite.decoding.structure import Structure, Values


def process(
    scores: jax.Array, tokens: jax.Array, step: jax.Array, structure: Structure, values: Values
) -> jax.Array:
    """Applies all processors that the settings ask for, in the order of `transformers.generate`.

    Args:
      scores: float32 [row, vocab]; logits (greedy, sampling) or log-probabilities (beams), as transformers has it.
      tokens: int32 [row, 1 + capacity], see above.
      step: int32 [] or [row], the number of tokens generated so far.
      values: per row (`Values.per_row`).

    Returns:
      float32 [row, vocab], removed tokens at -inf.
    """
    if values.encoder_repetition_penalty is not None:
        penalty = values.encoder_repetition_penalty
        pad = structure.pad_token_id
        scores = encoder_repetition_penalty(scores, values.encoder_tokens, pad, penalty)
    if values.repetition_penalty is not None:
        penalty = values.repetition_penalty
        scores = _where_on(
            jnp.any(penalty != 1),
            lambda scores, penalty: repetition_penalty(scores, tokens, step, penalty),
            scores,
            penalty,
        )
    if structure.no_repeat_ngram_size:
        scores = no_repeat_ngram(scores, tokens, step, structure.no_repeat_ngram_size)
    if structure.encoder_no_repeat_ngram_size:
        n, pad = structure.encoder_no_repeat_ngram_size, structure.pad_token_id
        scores = encoder_no_repeat_ngram(scores, tokens, step, values.encoder_tokens, pad, n)
    if values.bad_words is not None:
        scores = bad_words(scores, tokens, step, values.bad_words)
    for eos in structure.eos_token_ids:
        scores = _ban(scores, eos, step < values.min_new_tokens)
    if values.forced_first is not None:
        scores = _force(scores, values.forced_first, step == 0)
    if values.forced_last is not None:
        scores = _force(scores, values.forced_last, step == values.max_new_tokens - 1)
    if values.suppressed is not None:
        scores = jnp.where(values.suppressed[None], -jnp.inf, scores)
    if values.begin_suppressed is not None:
        begin = 0 if values.forced_first is None else 1
        begins = jnp.reshape(step == begin, (-1, 1))
        scores = jnp.where(values.begin_suppressed[None] & begins, -jnp.inf, scores)
    return warp(scores, values, structure.least_kept) if structure.do_sample else scores


def warp(scores: jax.Array, values: Values, least: int) -> jax.Array:
    """The processors of sampling alone, in transformers' order: temperature, top_k, top_p, min_p, typical_p.

    Each keeps at least the `least` tokens it ranks first.
    """
    scores = scores / values.temperature[:, None]
    for given, neutral, keep in (
        (values.top_k, 0, top_k),
        (values.top_p, 1, top_p),
        (values.min_p, 0, min_p),
        (values.typical_p, 1, typical_p),
    ):
        if given is not None:
            filtered = functools.partial(keep, least=least)
            scores = _where_on(jnp.any(given != neutral), filtered, scores, given)
    return scores


def _where_on(
    is_on: jax.Array, act: Callable[..., jax.Array], scores: jax.Array, value: jax.Array
) -> jax.Array:
    """Settings at "off" in all rows must not cost passes over the vocabulary, nor a compilation when turned on."""
    return jax.lax.cond(is_on, act, lambda scores, _: scores, scores, value)


def top_k(scores: jax.Array, k: jax.Array, least: int = 1) -> jax.Array:
    """Keeps the `k` [row] best tokens of each row (and those equal to the last of them); 0 keeps all.

    >>> top_k(jnp.array([[1.0, 3.0, 2.0]]), jnp.array([2]))
    Array([[-inf,   3.,   2.]], dtype=float32)
    """
    budget = jnp.where(k > 0, jnp.maximum(k, least), scores.shape[-1]).astype(jnp.float32)
    return jnp.where(_keep_top(scores, jnp.ones_like(scores), budget), scores, -jnp.inf)


def top_p(scores: jax.Array, p: jax.Array, least: int = 1) -> jax.Array:
    """Keeps each row's smallest set of best tokens whose probabilities reach `p` [row]; 1 keeps all.

    Source: Holtzman et al. 2020 (arXiv:1904.09751), nucleus sampling.
    """
    budget = jnp.where(p < 1, p, jnp.inf)
    kept = _keep_top(scores, jax.nn.softmax(scores), budget) | _first(scores, least)
    return jnp.where(kept, scores, -jnp.inf)


def min_p(scores: jax.Array, p: jax.Array, least: int = 1) -> jax.Array:
    """Keeps tokens of at least `p` [row] times the probability of the row's best. Source: arXiv:2407.01082."""
    probabilities = jax.nn.softmax(scores)
    best = jnp.max(probabilities, axis=-1, keepdims=True)
    kept = (probabilities >= p[:, None] * best) | _first(scores, least)
    return jnp.where(kept, scores, -jnp.inf)


def typical_p(scores: jax.Array, p: jax.Array, least: int = 1) -> jax.Array:
    """Keeps the tokens whose information is nearest to the entropy until they hold probability `p` [row]; 1 keeps all.

    Source: Meister et al. 2022 (arXiv:2202.00666).
    """
    log_probabilities = jax.nn.log_softmax(scores)
    probabilities = jnp.exp(log_probabilities)
    terms = jnp.where(probabilities > 0, probabilities * log_probabilities, 0.0)
    entropy = -jnp.sum(terms, axis=-1, keepdims=True)
    closeness = -jnp.abs(log_probabilities + entropy)
    budget = jnp.where(p < 1, p, jnp.inf)
    kept = _keep_top(closeness, probabilities, budget) | _first(closeness, least)
    return jnp.where(kept, scores, -jnp.inf)


def repetition_penalty(
    scores: jax.Array, tokens: jax.Array, step: jax.Array, penalty: jax.Array
) -> jax.Array:
    """Divides positive scores of tokens seen so far (start token included) by `penalty` [row];
    multiplies negative ones by it.

    Source: Keskar et al. 2019 (arXiv:1909.05858).
    """
    seen = _scatter(tokens, _until(tokens, step), scores)
    return _penalized(scores, seen, penalty)


def encoder_repetition_penalty(
    scores: jax.Array, encoder_tokens: jax.Array, pad: int, penalty: jax.Array
) -> jax.Array:
    """Favors the tokens of `encoder_tokens` [row, encoder_length] for a `penalty` [row] above 1: the opposite of
    `repetition_penalty`, as transformers has it ("hallucination penalty").

    Unlike there, pads are no tokens of the input: a row's output must not depend on the others of its batch.
    """
    return _penalized(scores, _scatter(encoder_tokens, encoder_tokens != pad, scores), 1 / penalty)


def _penalized(scores: jax.Array, where: jax.Array, penalty: jax.Array) -> jax.Array:
    penalized = jnp.where(scores < 0, scores * penalty[:, None], scores / penalty[:, None])
    return jnp.where(where, penalized, scores)


def no_repeat_ngram(scores: jax.Array, tokens: jax.Array, step: jax.Array, n: int) -> jax.Array:
    """Removes every token that would complete an n-gram already present in the row (start token included).

    Source: Paulus et al. 2018 (arXiv:1705.04304).
    """
    if n > tokens.shape[1]:
        return scores  # no row has room for one
    # A window counts if its last token is generated. Near the start of a row none is complete yet.
    return _ban_ngrams(scores, tokens, step, tokens, _until(tokens, step), n)


def encoder_no_repeat_ngram(
    scores: jax.Array,
    tokens: jax.Array,
    step: jax.Array,
    encoder_tokens: jax.Array,
    pad: int,
    n: int,
) -> jax.Array:
    """Removes every token that would complete an n-gram of `encoder_tokens` [row, encoder_length].

    Unlike in transformers, n-grams with a pad in them do not count: the decoder starts with a pad, and left padding
    would ban the first token of the input.
    """
    if n > encoder_tokens.shape[1] or n - 1 > tokens.shape[1]:
        return (
            scores  # the input has none, or no row has room for what stands before its last token
        )
    inside = encoder_tokens != pad
    whole = inside[:, n - 1 :]
    for offset in range(n - 1):
        whole &= inside[:, offset : offset + whole.shape[1]]
    inside = jnp.pad(whole, ((0, 0), (n - 1, 0)))
    banned = _ban_ngrams(scores, tokens, step, encoder_tokens, inside, n)
    # Shorter than n - 1 tokens, the row cannot complete one.
    return jnp.where(jnp.reshape(step + 2 >= n, (-1, 1)), banned, scores)


def _ban_ngrams(
    scores: jax.Array,
    tokens: jax.Array,
    step: jax.Array,
    source: jax.Array,
    inside: jax.Array,
    n: int,
) -> jax.Array:
    """Bans what completes an n-gram of `source` whose last position is in `inside` [row, length] (or [1, length])."""
    windows = source.shape[1] - n + 1
    complete = jnp.broadcast_to(inside[:, n - 1 :], (tokens.shape[0], windows))
    # The last n - 1 tokens; near the start of a row the slice is clamped.
    prefix = _window(tokens, step + 2 - n, n - 1)
    for offset in range(n - 1):
        complete &= source[:, offset : offset + windows] == prefix[:, offset, None]
    return jnp.where(_scatter(source[:, n - 1 :], complete, scores), -jnp.inf, scores)


def bad_words(scores: jax.Array, tokens: jax.Array, step: jax.Array, words: jax.Array) -> jax.Array:
    """Removes every token that would complete one of `words` int32 [words, longest], padded with -1 on the left."""
    longest = words.shape[1]
    padded = jnp.pad(tokens, ((0, 0), (longest, 0)), constant_values=-2)  # matches no token
    recent = _window(padded, step + 2, longest - 1)
    prefixes = words[None, :, :-1]
    matches = jnp.all((prefixes == -1) | (prefixes == recent[:, None]), axis=-1)  # [row, words]
    completions = jnp.broadcast_to(words[None, :, -1], matches.shape)
    return jnp.where(_scatter(completions, matches, scores), -jnp.inf, scores)


def _until(tokens: jax.Array, step: jax.Array) -> jax.Array:
    """bool [row or 1, length]: where `tokens` is filled."""
    return jnp.arange(tokens.shape[1])[None] <= jnp.reshape(step, (-1, 1))


def _window(tokens: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """[row, size]: from `start` ([] or [row]) on, which is clamped."""
    if not jnp.ndim(start):
        return jax.lax.dynamic_slice_in_dim(tokens, start, size, axis=1)
    take = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=size, axis=0)
    return jax.vmap(take)(tokens, start)


def _ban(scores: jax.Array, token: int, where: jax.Array) -> jax.Array:
    """Sets one token to -inf in the rows of `where` [row]."""
    return scores.at[:, token].set(jnp.where(where, -jnp.inf, scores[:, token]))


def _force(scores: jax.Array, tokens: jax.Array, where: jax.Array) -> jax.Array:
    """Leaves `tokens` ([] or [tokens]) alone, at score 0, in the rows of `where` ([] or [row])."""
    forced = jnp.arange(scores.shape[1])[:, None] == jnp.reshape(tokens, (1, -1))
    only = jnp.where(jnp.any(forced, axis=1), 0.0, -jnp.inf)[None]
    return jnp.where(jnp.reshape(where, (-1, 1)), only, scores)


def _scatter(tokens: jax.Array, where: jax.Array, scores: jax.Array) -> jax.Array:
    """bool [row, vocab]: the tokens [row, n] that `where` [row, n] selects."""
    rows, vocab = scores.shape
    targets = jnp.where(where, tokens, vocab)  # out of bounds: dropped
    return (
        jnp.zeros((rows, vocab), bool).at[jnp.arange(rows)[:, None], targets].set(True, mode="drop")
    )


def _first(ranking: jax.Array, count: int) -> jax.Array:
    """bool [row, vocab]: the `count` tokens that rank first (and those equal to the last of them)."""
    if count == 1:
        return ranking == jnp.max(ranking, axis=-1, keepdims=True)
    budget = jnp.full(ranking.shape[0], count, jnp.float32)
    return _keep_top(ranking, jnp.ones_like(ranking), budget)


def _keep_top(scores: jax.Array, weights: jax.Array, budget: jax.Array) -> jax.Array:
    """bool [row, vocab]: tokens for which the weights of all better tokens sum to less than `budget` [row].

    With weights of one and a budget of k these are the k best; with probabilities and p, the nucleus.
    """
    bits = jax.lax.bitcast_convert_type(scores, jnp.int32)
    keys = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # integers in the order of the floats

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        better = jnp.sum(jnp.where(keys > middle[:, None], weights, 0.0), axis=-1)
        fits = better < budget
        return jnp.where(fits, low, middle + 1), jnp.where(fits, middle, high)

    highest = jnp.max(keys, axis=-1)
    lowest = jnp.full_like(highest, jnp.iinfo(jnp.int32).min)
    _, threshold = jax.lax.fori_loop(0, 32, halve, (lowest, highest))
    return keys >= threshold[:, None]
