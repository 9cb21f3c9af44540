"""Greedy decoding and sampling: one token a row and step, until every row is done."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite.decoding.cache import Cache
from t5x_lite.decoding.processors import process
from t5x_lite.decoding.stop_strings import advance_stops
from t5x_lite.decoding.structure import Structure, Values

# (decoder input tokens [row], position [], cache) -> (logits of the next token, float32 [row, vocab]; the new cache)
NextLogits = Callable[[jax.Array, jax.Array, Cache], tuple[jax.Array, Cache]]


class Decoded(NamedTuple):
    """What a loop decodes. Rows are the returned sequences, those of one encoder input side by side."""

    tokens: jax.Array  # int32 [row, capacity]: without the start token, with eos, then pads
    lengths: jax.Array  # int32 [row]: tokens up to and with eos
    scores: jax.Array | None  # float32 [row]: beam scores
    # float32 [row, capacity], of each token; 0 behind the end, None unless asked for.
    logprobs: jax.Array | None  # under the model, before any processor
    processed_logprobs: jax.Array | None  # under what was drawn from, or added to a beam's score
    steps: jax.Array  # int32 []: iterations of the loop


class State(NamedTuple):
    """Where a loop is: what `resume` takes and gives."""

    step: jax.Array
    tokens: jax.Array  # int32 [row, 1 + capacity], from the start token on
    lengths: jax.Array
    done: jax.Array  # bool [row]
    stop_state: jax.Array  # int32 [row], of `stop_strings`
    logprobs: jax.Array | None
    processed_logprobs: jax.Array | None
    cache: Cache


def sample(
    next_logits: NextLogits,
    cache: Cache,
    structure: Structure,
    values: Values,
    row_keys: jax.Array | None,
    *,
    with_logprobs: bool,
) -> Decoded:
    """Greedy decoding, or sampling where `row_keys` are given.

    Args:
      next_logits: one step of the model.
      cache: empty, with rows = batch x rows_per_input.
      values: one value a row (`Values.per_row`).
      row_keys: a key a row (see `row_keys`) to sample; None for greedy decoding.
      with_logprobs: also return each token's log-probabilities, which cost two passes over the vocabulary a step.
    """
    rows = values.max_new_tokens.shape[0]  # may be symbolic: no `len`
    state = begin(cache, structure, rows, with_logprobs=with_logprobs)
    until = jnp.int32(structure.capacity)
    state = resume(next_logits, state, until, structure, values, row_keys)
    return Decoded(
        tokens=state.tokens[:, 1:],
        lengths=state.lengths,
        scores=None,
        logprobs=state.logprobs,
        processed_logprobs=state.processed_logprobs,
        steps=state.step,
    )


def begin(cache: Cache, structure: Structure, rows: int, *, with_logprobs: bool) -> State:
    """The state before the first token of `rows` rows."""
    none_yet = jnp.zeros((rows, structure.capacity)) if with_logprobs else None
    start = jnp.full((rows, 1 + structure.capacity), structure.pad_token_id, jnp.int32)
    return State(
        step=jnp.int32(0),
        tokens=start.at[:, 0].set(structure.decoder_start_token_id),
        lengths=jnp.zeros(rows, jnp.int32),
        done=jnp.zeros(rows, bool),
        stop_state=jnp.zeros(rows, jnp.int32),
        logprobs=none_yet,
        processed_logprobs=none_yet,
        cache=cache,
    )


def resume(
    next_logits: NextLogits,
    state: State,
    until: jax.Array,
    structure: Structure,
    values: Values,
    row_keys: jax.Array | None,
) -> State:
    """Goes on until step `until` (int32 [], at most the capacity), or until every row is done."""

    def unfinished(state: State) -> jax.Array:
        return (state.step < until) & ~jnp.all(state.done)

    def advance(state: State) -> State:
        inputs = jax.lax.dynamic_index_in_dim(state.tokens, state.step, axis=1, keepdims=False)
        logits, cache = next_logits(inputs, state.step, state.cache)
        scores = process(logits, state.tokens, state.step, structure, values)
        chosen = likeliest(scores) if row_keys is None else draw(scores, row_keys, state.step)
        chosen = jnp.where(state.done, structure.pad_token_id, chosen)

        def write_logprob(logprobs: jax.Array | None, scores: jax.Array) -> jax.Array | None:
            if logprobs is None:
                return None
            logprob = jnp.where(state.done, 0.0, logprob_of(chosen, scores))
            return _write(logprobs, logprob, state.step)

        stop_state, stopped = advance_stops(values.stop_table, state.stop_state, chosen)
        ended = is_eos(chosen, structure) | stopped | (state.step + 1 >= values.max_new_tokens)
        return State(
            step=state.step + 1,
            tokens=_write(state.tokens, chosen, state.step + 1),
            lengths=state.lengths + ~state.done,
            done=state.done | ended,
            stop_state=stop_state,
            logprobs=write_logprob(state.logprobs, logits),
            processed_logprobs=write_logprob(state.processed_logprobs, scores),
            cache=cache,
        )

    return jax.lax.while_loop(unfinished, advance, state)


def likeliest(scores: jax.Array) -> jax.Array:
    """Greedy: [row, vocab] -> int32 [row]."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def draw(scores: jax.Array, row_keys: jax.Array, step: jax.Array) -> jax.Array:
    """A token a row, int32 [row], of `scores` [row, vocab]: number `step` ([] or [row]) of the row of that key."""
    keys = jax.vmap(jax.random.fold_in)(row_keys, jnp.broadcast_to(step, row_keys.shape))
    return jax.vmap(jax.random.categorical)(keys, scores).astype(jnp.int32)


def logprob_of(tokens: jax.Array, scores: jax.Array) -> jax.Array:
    """Natural logarithm of the probability of `tokens` [row] under `scores` [row, vocab]: float32 [row]."""
    score = jnp.take_along_axis(scores, tokens[:, None], axis=1)[:, 0]
    return score - jax.nn.logsumexp(scores, axis=1)


def is_eos(tokens: jax.Array, structure: Structure) -> jax.Array:
    """bool: which of the tokens (any shape) end a row."""
    ends = (tokens == eos for eos in structure.eos_token_ids)
    return functools.reduce(jnp.logical_or, ends, jnp.zeros(tokens.shape, bool))


def row_keys(rng: jax.Array, row_ids: jax.Array, rows_per_input: int) -> jax.Array:
    """A key for every decoded row, from its input's id and its number among that input's samples.

    A draw folds in the step as well, so what a row draws does not depend on the batch it is decoded in.

    Args:
      row_ids: int32 [batch], e.g. the number of each example in its data set.

    Returns:
      keys [batch x rows_per_input].
    """

    def keys_of(row_id: jax.Array) -> jax.Array:
        return jax.vmap(lambda number: row_key(rng, row_id, number))(jnp.arange(rows_per_input))

    keys = jax.vmap(keys_of)(row_ids)
    return keys.reshape(-1, *keys.shape[2:])


def row_key(rng: jax.Array, row_id: jax.Array, number: jax.Array) -> jax.Array:
    """The key of one row of `row_keys`."""
    return jax.random.fold_in(jax.random.fold_in(rng, row_id), number)


def _write(buffer: jax.Array, column: jax.Array, position: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(buffer, column[:, None], position, axis=1)
