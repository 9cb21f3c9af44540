"""Beam search with the semantics of transformers 5.23 (`GenerationMixin._beam_search`), in one loop.

Each input has `beams` running hypotheses, which grow together, and keeps its `beams` best finished ones, ranked by
log-probability / length ** length_penalty (the length counts eos, not the start token).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite.decoding.cache import Cache, reorder
from t5x_lite.decoding.processors import process
from t5x_lite.decoding.sampling import Decoded, NextLogits, is_eos
from t5x_lite.decoding.stop_strings import advance_stops
from t5x_lite.decoding.structure import EARLY_STOPPING, Structure, Values

# Added to the scores of what may not be chosen. Finite as in transformers: the order among such
# hypotheses still counts while there are too few others.
EXCLUDED = -1.0e9
# Of a place among the finished that no hypothesis has taken: below those of an excluded one, which is at least a text.
_EMPTY = 2 * EXCLUDED
# Added to the scores of what may not even take an empty place.
_BARRED = 4 * EXCLUDED


class _State(NamedTuple):
    step: jax.Array
    running: dict[
        str, Any
    ]  # tokens [batch, beam, 1 + capacity], scores, stop_state [batch, beam]; if asked for, both logprobs
    finished: dict[str, Any]  # the same, and lengths [batch, beam], full [batch, beam]
    open: jax.Array  # bool [batch]: the search of this input goes on: it may take other hypotheses
    cache: Cache


def beam_search(
    next_logits: NextLogits,
    cache: Cache,
    structure: Structure,
    values: Values,
    input_keys: jax.Array | None,
    *,
    with_logprobs: bool,
) -> Decoded:
    """The `num_return_sequences` best hypotheses of each input, best first.

    Args:
      next_logits: one step of the model.
      cache: empty, with rows = batch x beams.
      values: one value a row (`Values.per_row`).
      input_keys: a key an input (`row_keys` with one row an input) to draw the continuations in place of taking the
        best; None for none.
      with_logprobs: also return each token's log-probabilities.
    """
    beams = structure.num_beams
    batch = len(values.max_new_tokens) // beams
    max_new_tokens, length_penalty = values.max_new_tokens[::beams], values.length_penalty[::beams]

    def unfinished(state: _State) -> jax.Array:
        return jnp.any(state.open)

    def advance(state: _State) -> _State:
        step, running = state.step, state.running
        rows = running["tokens"].reshape(batch * beams, -1)
        inputs = jax.lax.dynamic_index_in_dim(rows, step, axis=1, keepdims=False)
        logits, cache = next_logits(inputs, step, state.cache)
        unprocessed = jax.nn.log_softmax(logits)
        scores = process(unprocessed, rows, step, structure, values)

        # More candidates than beams: even if many of them end, as many as there are beams run on.
        scores = scores.reshape(batch, beams, -1)
        noise = None if input_keys is None else _gumbel(input_keys, step, scores.shape)
        totals, sources, tokens = _candidates(
            scores, running["scores"], structure.candidates, noise
        )
        stop_state, stopped = advance_stops(
            values.stop_table, _take(running["stop_state"], sources), tokens
        )
        candidates = {
            "tokens": _write(_take(running["tokens"], sources), tokens, step + 1),
            "scores": totals,
            "stop_state": stop_state,
        }
        if with_logprobs:
            at = (jnp.arange(batch)[:, None], sources, tokens)
            for name, added in (
                ("logprobs", unprocessed.reshape(batch, beams, -1)),
                ("processed_logprobs", scores),
            ):
                candidates[name] = _write(_take(running[name], sources), added[at], step)
        ended = is_eos(tokens, structure) | stopped | (step + 1 >= max_new_tokens)[:, None]

        still_running = candidates | {"scores": totals + ended * EXCLUDED}
        best = jax.lax.top_k(still_running["scores"], beams)[1]
        running = _take(still_running, best)
        finished = _finish(state, candidates, ended, length_penalty, structure)
        # The longest hypothesis is the best case of a positive penalty; only "never" reckons with it.
        hopeful = (values.early_stopping == EARLY_STOPPING["never"]) & (length_penalty > 0)
        longest = jnp.where(hopeful, max_new_tokens, step + 1)
        enough = (values.early_stopping == EARLY_STOPPING[True]) & jnp.all(finished["full"], axis=1)
        return _State(
            step=step + 1,
            running=running,
            finished=finished,
            open=state.open
            & _can_improve(running["scores"][:, 0], finished, longest, length_penalty)
            & ~enough
            & ~jnp.all(ended, axis=1),
            cache=reorder(cache, _take(sources, best)),
        )

    state = jax.lax.while_loop(
        unfinished, advance, _start(structure, batch, cache, with_logprobs=with_logprobs)
    )
    returned = jax.tree.map(
        lambda x: x[:, : structure.num_return_sequences].reshape(-1, *x.shape[2:]), state.finished
    )
    return Decoded(
        tokens=returned["tokens"][:, 1:],
        lengths=returned["lengths"],
        scores=returned["scores"],
        logprobs=returned.get("logprobs"),
        processed_logprobs=returned.get("processed_logprobs"),
        steps=state.step,
    )


def _start(structure: Structure, batch: int, cache: Cache, *, with_logprobs: bool) -> _State:
    shape = (batch, structure.num_beams)
    tokens = jnp.full((*shape, 1 + structure.capacity), structure.pad_token_id, jnp.int32)
    tokens = tokens.at[:, :, 0].set(structure.decoder_start_token_id)
    none_yet = jnp.full(shape, EXCLUDED, jnp.float32)
    # All beams start alike, so the first step may choose from the first beam alone.
    running = {
        "tokens": tokens,
        "scores": none_yet.at[:, 0].set(0.0),
        "stop_state": jnp.zeros(shape, jnp.int32),
    }
    finished = {
        "tokens": tokens,
        "scores": jnp.full(shape, _EMPTY, jnp.float32),
        "stop_state": running["stop_state"],
        "lengths": jnp.zeros(shape, jnp.int32),
        "full": jnp.zeros(shape, bool),
    }
    if with_logprobs:
        for name in ("logprobs", "processed_logprobs"):
            running[name] = finished[name] = jnp.zeros((*shape, structure.capacity))
    return _State(
        step=jnp.int32(0),
        running=running,
        finished=finished,
        open=jnp.ones(batch, bool),
        cache=cache,
    )


def _candidates(
    scores: jax.Array, running_scores: jax.Array, count: int, noise: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `count` best continuations of each input, best first; with `noise`, as many drawn ones, as drawn.

    Args:
      scores: float32 [batch, beam, vocab], of the next token.
      running_scores: float32 [batch, beam].
      noise: Gumbel noise as `scores`. The largest sums of log-probability and noise are draws without replacement in
        proportion to probability (Kool et al. 2019, arXiv:1903.06059): what torch.multinomial draws in transformers.

    Returns:
      accumulated scores, beams continued, tokens: each [batch, count].
    """
    batch, _, vocab = scores.shape
    totals = scores + running_scores[:, :, None]
    ranking = totals if noise is None else totals + noise
    # First within each beam: the vocabulary, perhaps sharded, is never merged with the beams.
    best, tokens = jax.lax.top_k(ranking, count)
    best, places = jax.lax.top_k(best.reshape(batch, -1), count)
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), places, axis=1)
    sources = places // count
    if noise is not None:
        best = totals[jnp.arange(batch)[:, None], sources, tokens]
    return best, sources, tokens


def _gumbel(input_keys: jax.Array, step: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(input_keys, step)
    return jax.vmap(lambda key: jax.random.gumbel(key, shape[1:]))(keys)


def _finish(
    state: _State,
    candidates: dict[str, Any],
    ended: jax.Array,
    length_penalty: jax.Array,
    structure: Structure,
) -> dict[str, Any]:
    """The best finished hypotheses, those that end now among them."""
    beams = structure.num_beams
    length = state.step + 1
    # A candidate that ends counts if it is among the first `beams`; the others are only there to run on.
    ends_now = ended & (jnp.arange(ended.shape[1]) < beams)[None]
    scores = candidates["scores"] / _length_norm(length, length_penalty)[:, None]
    scores = scores + ~(state.open[:, None] & ends_now) * _BARRED
    new = candidates | {
        "scores": scores,
        "lengths": jnp.full(ended.shape, length, jnp.int32),
        "full": ends_now,
    }
    merged = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), state.finished, new)
    return _take(merged, jax.lax.top_k(merged["scores"], beams)[1])


def _can_improve(
    best_running: jax.Array, finished: dict[str, Any], length: jax.Array, length_penalty: jax.Array
) -> jax.Array:
    """bool [batch]: would the best running beam, at `length` [batch], beat the worst finished hypothesis?"""
    hoped_for = best_running / _length_norm(length, length_penalty)
    worst = jnp.maximum(jnp.min(finished["scores"], axis=1, keepdims=True), EXCLUDED)
    worst = jnp.where(finished["full"], worst, EXCLUDED)
    return jnp.any(hoped_for[:, None] > worst, axis=1)


def _length_norm(length: jax.Array, length_penalty: jax.Array) -> jax.Array:
    return jnp.asarray(length, jnp.float32) ** length_penalty


def _take(tree: Any, index: jax.Array) -> Any:
    """Picks along the beam axis: leaves [batch, n, ...], index [batch, m] -> leaves [batch, m, ...]."""
    return jax.tree.map(lambda x: jax.vmap(lambda row, i: row[i])(x, index), tree)


def _write(buffer: jax.Array, column: jax.Array, position: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(buffer, column[:, :, None], position, axis=2)
