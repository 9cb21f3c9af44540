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
from t5x_lite.decoding.sampling import Decoded, NextLogits
from t5x_lite.decoding.structure import Structure, Values

# Added to the scores of what may not be chosen. Finite as in transformers: the order among such
# hypotheses still counts while there are too few others.
EXCLUDED = -1.0e9


class _State(NamedTuple):
    step: jax.Array
    running: dict[
        str, Any
    ]  # tokens [batch, beam, 1 + capacity], scores [batch, beam], logprobs [.., capacity]|None
    finished: dict[str, Any]  # the same, and lengths [batch, beam], full [batch, beam]
    improvable: jax.Array  # bool [batch]: a running beam may still beat a finished one
    exhausted: jax.Array  # bool []: no candidate can grow any further
    cache: Cache


def beam_search(
    next_logits: NextLogits,
    cache: Cache,
    structure: Structure,
    values: Values,
    *,
    with_logprobs: bool,
) -> Decoded:
    """The `num_return_sequences` best hypotheses of each input, best first.

    Args:
      next_logits: one step of the model.
      cache: empty, with rows = batch x beams.
      values: one value a row (`Values.per_row`).
      with_logprobs: also return each token's log-probability before any processor.
    """
    beams = structure.num_beams
    batch = len(values.max_new_tokens) // beams
    max_new_tokens, length_penalty = values.max_new_tokens[::beams], values.length_penalty[::beams]

    def unfinished(state: _State) -> jax.Array:
        go_on = jnp.any(state.improvable) & ~state.exhausted
        if structure.early_stopping is True:
            go_on &= ~jnp.all(state.finished["full"])
        return go_on

    def advance(state: _State) -> _State:
        step, running = state.step, state.running
        rows = running["tokens"].reshape(batch * beams, -1)
        inputs = jax.lax.dynamic_index_in_dim(rows, step, axis=1, keepdims=False)
        logits, cache = next_logits(inputs, step, state.cache)
        unprocessed = jax.nn.log_softmax(logits)
        scores = process(unprocessed, rows, step, structure, values)

        # Twice as many candidates as beams: even if the better half all end, the other half runs on.
        scores, sources, tokens = _candidates(scores.reshape(batch, beams, -1), running["scores"])
        candidates = {
            "tokens": _write(_take(running["tokens"], sources), tokens, step + 1),
            "scores": scores,
        }
        if with_logprobs:
            new = unprocessed.reshape(batch, beams, -1)[jnp.arange(batch)[:, None], sources, tokens]
            candidates["logprobs"] = _write(_take(running["logprobs"], sources), new, step)
        ended = (tokens == structure.eos_token_id) | (step + 1 >= max_new_tokens)[:, None]

        still_running = candidates | {"scores": scores + ended * EXCLUDED}
        best = jax.lax.top_k(still_running["scores"], beams)[1]
        running = _take(still_running, best)
        finished = _finish(
            state, candidates, ended, length_penalty, structure.early_stopping is True
        )
        return _State(
            step=step + 1,
            running=running,
            finished=finished,
            improvable=state.improvable
            & _can_improve(
                running["scores"][:, 0],
                finished,
                # The longest hypothesis is the best case of a positive penalty; only "never" reckons with it.
                jnp.where(
                    (structure.early_stopping == "never") & (length_penalty > 0),
                    max_new_tokens,
                    step + 1,
                ),
                length_penalty,
            ),
            exhausted=jnp.all(ended),
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
        steps=state.step,
    )


def _start(structure: Structure, batch: int, cache: Cache, *, with_logprobs: bool) -> _State:
    shape = (batch, structure.num_beams)
    tokens = jnp.full((*shape, 1 + structure.capacity), structure.pad_token_id, jnp.int32)
    tokens = tokens.at[:, :, 0].set(structure.decoder_start_token_id)
    none_yet = jnp.full(shape, EXCLUDED, jnp.float32)
    # All beams start alike, so the first step may choose from the first beam alone.
    running = {"tokens": tokens, "scores": none_yet.at[:, 0].set(0.0)}
    finished = {
        "tokens": tokens,
        "scores": none_yet,
        "lengths": jnp.zeros(shape, jnp.int32),
        "full": jnp.zeros(shape, bool),
    }
    if with_logprobs:
        running["logprobs"] = finished["logprobs"] = jnp.zeros((*shape, structure.capacity))
    return _State(
        step=jnp.int32(0),
        running=running,
        finished=finished,
        improvable=jnp.ones(batch, bool),
        exhausted=jnp.bool_(False),
        cache=cache,
    )


def _candidates(
    scores: jax.Array, running_scores: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best 2 x beams continuations of each input, best first.

    Args:
      scores: float32 [batch, beam, vocab], of the next token.
      running_scores: float32 [batch, beam].

    Returns:
      accumulated scores, beams continued, tokens: each [batch, 2 x beams].
    """
    batch, beams, _ = scores.shape
    # First within each beam: the vocabulary, perhaps sharded, is never merged with the beams.
    totals, tokens = jax.lax.top_k(scores + running_scores[:, :, None], 2 * beams)
    best, places = jax.lax.top_k(totals.reshape(batch, -1), 2 * beams)
    tokens = jnp.take_along_axis(tokens.reshape(batch, -1), places, axis=1)
    return best, places // (2 * beams), tokens


def _finish(
    state: _State,
    candidates: dict[str, Any],
    ended: jax.Array,
    length_penalty: jax.Array,
    stop_when_full: bool,
) -> dict[str, Any]:
    """The best finished hypotheses, those that end now among them."""
    beams = ended.shape[1] // 2
    length = state.step + 1
    # A candidate that ends counts if it is among the `beams` best; the others are only there to run on.
    ends_now = ended & (jnp.arange(2 * beams) < beams)[None]
    closed = ~state.improvable
    if stop_when_full:
        closed |= jnp.all(state.finished["full"], axis=1)
    scores = candidates["scores"] / _length_norm(length, length_penalty)[:, None]
    scores = scores + closed[:, None] * EXCLUDED + ~ends_now * EXCLUDED
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
    worst = jnp.where(
        finished["full"], jnp.min(finished["scores"], axis=1, keepdims=True), EXCLUDED
    )
    return jnp.any(hoped_for[:, None] > worst, axis=1)


def _length_norm(length: jax.Array, length_penalty: jax.Array) -> jax.Array:
    return jnp.asarray(length, jnp.float32) ** length_penalty


def _take(tree: Any, index: jax.Array) -> Any:
    """Picks along the beam axis: leaves [batch, n, ...], index [batch, m] -> leaves [batch, m, ...]."""
    return jax.tree.map(lambda x: jax.vmap(lambda row, i: row[i])(x, index), tree)


def _write(buffer: jax.Array, column: jax.Array, position: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(buffer, column[:, :, None], position, axis=2)
