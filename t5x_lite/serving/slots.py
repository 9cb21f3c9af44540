"""The running batch in arrays, and the two programs that change it: one puts an input into a slot, one chooses tokens.

A slot is a row that any request may have for a while. What differs from slot to slot (position, adapter, temperature,
seed, ...) is data, so that no request compiles anything.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from t5x_lite import streams
from t5x_lite.decoding.cache import Cache, init_cache
from t5x_lite.decoding.generate import encode_once, make_next_logits
from t5x_lite.decoding.processors import process
from t5x_lite.decoding.sampling import draw, is_eos, likeliest, logprob_of, row_key
from t5x_lite.decoding.structure import Structure, Values
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import variables as model_variables
from t5x_lite.params.side_by_side import of_rows

# The tokens that a call of `advance` chooses at most; and how many alternatives to each it tells.
MOST_STEPS, ALTERNATIVES = 8, 5

# What settings are in a row that does not use them. No processor changes a score then.
NEUTRAL: dict[str, float] = {
    "min_new_tokens": 0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
    "repetition_penalty": 1.0,
}  # fmt: skip
_WHOLE = ("max_new_tokens", "min_new_tokens", "top_k")


class Given(NamedTuple):
    """Of each slot, what its request gave. Arrays [slot, ...]; as an argument of `put`, those of one slot."""

    values: Values  # those of NEUTRAL, and max_new_tokens
    samples: Any  # bool: drawn, in place of the likeliest token
    with_logprobs: Any  # bool
    keys: Any  # of the draws
    adapter: Any  # int32: its number
    encoder_segment_ids: Any  # int32 [slot, longest input], 0: none
    cross: Any  # cross-attention's keys and values, [slot, heads, longest input, kv] a layer


class Moving(NamedTuple):
    """Of each slot, where it is."""

    step: Any  # int32 [slot]: tokens chosen
    tokens: Any  # int32 [slot, 1 + capacity], from the start token on
    cache: Cache


class Entry(NamedTuple):
    """What one slot gets. seed, prompt, sample: of the draws, as `Generator` counts rows; values: of [1]."""

    tokens: Any  # int32 [1, length]
    values: Values
    samples: Any
    with_logprobs: Any
    seed: Any
    prompt: Any
    sample: Any
    adapter: Any


class Chosen(NamedTuple):
    """What `advance` chose: arrays [MOST_STEPS, rows], filled as far as `steps`; a slot counts until it has ended."""

    tokens: Any  # int32
    ended: Any  # bool: by eos, or by its length
    logprobs: Any  # float32, under the model; 0 where nobody asked
    alternatives: Any  # int32 [..., ALTERNATIVES], the likeliest tokens
    alternative_logprobs: Any
    steps: Any  # int32 []


@dataclasses.dataclass(frozen=True)
class Programs:
    """What is traced. structure: of all slots; its capacity is the longest output. longest_input: in tokens."""

    model: T5
    structure: Structure
    slots: int
    longest_input: int

    def empty(self) -> tuple[Given, Moving]:
        """All slots free."""
        config, slots = self.model.config, self.slots
        names = ("max_new_tokens", *NEUTRAL)
        values = Values(max_new_tokens=0, min_new_tokens=0)._replace(
            **{name: jnp.full(slots, NEUTRAL.get(name, 1), type_of(name)) for name in names}
        )
        dtype = self.model.execution.dtype
        given = Given(
            values=values,
            samples=jnp.zeros(slots, bool),
            with_logprobs=jnp.zeros(slots, bool),
            keys=jax.vmap(jax.random.key)(jnp.zeros(slots, jnp.int32)),
            adapter=jnp.zeros(slots, jnp.int32),
            encoder_segment_ids=jnp.zeros((slots, self.longest_input), jnp.int32),
            cross=init_cache(config, slots, self.longest_input, dtype),
        )
        moving = Moving(
            step=jnp.zeros(slots, jnp.int32),
            tokens=jnp.zeros((slots, 1 + self.structure.capacity), jnp.int32),
            cache=init_cache(config, slots, self.structure.capacity, dtype),
        )
        return given, moving

    def put(
        self, given: Given, moving: Moving, params: Any, adapters: Any, slot: Any, entry: Entry
    ) -> tuple[Given, Moving]:
        """Encodes an input, and begins its output in `slot` (int32 [])."""
        acting = of_rows(adapters, entry.adapter[None]) if adapters else None
        variables = model_variables(params, acting)
        cross, segment_ids = encode_once(self.model, variables, entry.tokens, None)
        key = row_key(streams.key(entry.seed, "decode"), entry.prompt, entry.sample)

        def write(whole: jax.Array, row: jax.Array) -> jax.Array:
            """[slot, ...] with [1, ...] in its first places; behind it nobody reads."""
            return jax.lax.dynamic_update_slice(
                whole, row.astype(whole.dtype), (slot, *([0] * (whole.ndim - 1)))
            )

        segments = jnp.zeros((1, self.longest_input), jnp.int32)
        segments = jax.lax.dynamic_update_slice(segments, segment_ids.astype(jnp.int32), (0, 0))
        start = jnp.full((1, moving.tokens.shape[1]), self.structure.pad_token_id, jnp.int32)
        given = Given(
            values=jax.tree.map(write, given.values, entry.values),
            samples=given.samples.at[slot].set(entry.samples),
            with_logprobs=given.with_logprobs.at[slot].set(entry.with_logprobs),
            keys=given.keys.at[slot].set(key),
            adapter=given.adapter.at[slot].set(entry.adapter),
            encoder_segment_ids=write(given.encoder_segment_ids, segments),
            cross=jax.tree.map(write, given.cross, cross),
        )
        moving = moving._replace(
            step=moving.step.at[slot].set(0),
            tokens=write(moving.tokens, start.at[:, 0].set(self.structure.decoder_start_token_id)),
        )
        return given, moving

    def advance(
        self,
        moving: Moving,
        given: Given,
        params: Any,
        adapters: Any,
        active: jax.Array,
        count: jax.Array,
        *,
        rows: int,
        length: int,
    ) -> tuple[Moving, Chosen]:
        """Chooses up to `count` tokens in those of the first `rows` slots that are `active` (bool [slot]), whose inputs
        have up to `length` tokens.
        """
        alive = active[:rows]
        first: Any = jax.tree.map(lambda x: x[:rows], (given._replace(cross=()), moving))
        mine, begun = first
        cross = jax.tree.map(lambda x: x[:rows, :, :length], given.cross)
        acting = of_rows(adapters, mine.adapter) if adapters else None
        next_logits = make_next_logits(
            self.model,
            model_variables(params, acting),
            cross,
            mine.encoder_segment_ids[:, :length],
        )
        mine = mine._replace(values=_neutral_where(~alive, mine.values))

        def unfinished(state: Any) -> jax.Array:
            _, alive, chosen = state
            return (chosen.steps < count) & jnp.any(alive)

        def step(state: Any) -> Any:
            moving, alive, chosen = state
            moving, tokens, details = self._choose(next_logits, moving, mine, alive)
            ended = is_eos(tokens, self.structure) | (moving.step >= mine.values.max_new_tokens)
            new = (tokens, ended & alive, *details)
            written = [
                jax.lax.dynamic_update_slice_in_dim(whole, part[None], chosen.steps, axis=0)
                for whole, part in zip(chosen[:-1], new, strict=True)
            ]
            return moving, alive & ~ended, Chosen._make([*written, chosen.steps + 1])

        state = (begun, alive, _nothing_chosen(rows))
        begun, _, chosen = jax.lax.while_loop(unfinished, step, state)
        moving = jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice(whole, part, (0,) * whole.ndim),
            moving,
            begun,
        )
        return moving, chosen

    def _choose(
        self, next_logits: Any, moving: Moving, given: Given, alive: jax.Array
    ) -> tuple[Moving, jax.Array, Any]:
        """One token a row; its log-probability, and the alternatives with theirs."""
        rows = jnp.arange(len(alive))
        inputs = moving.tokens[rows, moving.step]
        logits, cache = next_logits(inputs, moving.step, moving.cache)
        scores = process(logits, moving.tokens, moving.step, self.structure, given.values)
        samples = given.samples & alive
        tokens = jax.lax.cond(
            jnp.any(samples),
            lambda: jnp.where(samples, draw(scores, given.keys, moving.step), likeliest(scores)),
            lambda: likeliest(scores),
        )
        tokens = jnp.where(alive, tokens, self.structure.pad_token_id)
        details = jax.lax.cond(
            jnp.any(given.with_logprobs & alive),
            lambda: (logprob_of(tokens, logits), *_alternatives(logits)),
            lambda: _no_details(len(alive)),
        )
        moving = Moving(
            step=moving.step + alive,
            tokens=moving.tokens.at[rows, moving.step + 1].set(tokens),
            cache=cache,
        )
        return moving, tokens, details


def _alternatives(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    best, tokens = jax.lax.top_k(logits, ALTERNATIVES)
    return tokens, best - jax.nn.logsumexp(logits, axis=1, keepdims=True)


def _no_details(rows: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    several = (rows, ALTERNATIVES)
    return jnp.zeros(rows), jnp.zeros(several, jnp.int32), jnp.zeros(several)


def _nothing_chosen(rows: int) -> Chosen:
    one, several = (MOST_STEPS, rows), (MOST_STEPS, rows, ALTERNATIVES)
    return Chosen(
        tokens=jnp.zeros(one, jnp.int32),
        ended=jnp.zeros(one, bool),
        logprobs=jnp.zeros(one),
        alternatives=jnp.zeros(several, jnp.int32),
        alternative_logprobs=jnp.zeros(several),
        steps=jnp.int32(0),
    )


def _neutral_where(idle: jax.Array, values: Values) -> Values:
    """What a slot's last request gave costs nothing once it has gone."""
    kept = {
        name: jnp.where(idle, jnp.asarray(neutral, type_of(name)), getattr(values, name))
        for name, neutral in NEUTRAL.items()
    }
    return values._replace(**kept)


def type_of(name: str) -> Any:
    """Of a value's array."""
    return jnp.int32 if name in _WHOLE else jnp.float32
