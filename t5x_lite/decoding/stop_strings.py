"""Stop strings inside a jitted loop: an automaton that reads tokens, one table look-up a row and step.

A row ends with the token that completes a stop string, wherever in that token it ends: what transformers'
`StopStringCriteria` finds, which searches the last tokens' texts again at every step. Here the texts of all tokens are
run through an Aho-Corasick automaton once, ahead (Aho and Corasick 1975), so that the loop carries one integer a row.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

# The table has a multiple of so many states: other stop strings mostly find a compiled loop.
_STATES_STEP = 32


def advance_stops(
    table: jax.Array | None, states: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """States after `tokens`, and whether one of these completes a stop string; both as `tokens` (any shape).

    `table` None: there are no stop strings.
    """
    if table is None:
        return states, jnp.zeros(tokens.shape, bool)
    entry = table[states, tokens]
    return entry >> 1, (entry & 1).astype(bool)


@functools.lru_cache(maxsize=8)
def stop_table(texts: tuple[str, ...], vocabulary: Vocabulary, vocab_size: int) -> np.ndarray:
    """The table that `advance_stops` reads: int32 [states, vocab_size], 2 x the next state + whether a string ends.

    State 0 is the start. Ids without a text (a padded embedding) lead back there.

    Raises:
      InputError: no text of the vocabulary's tokens can spell one of the strings.
    """
    next_state, accepting = _automaton([text.encode() for text in texts])
    tokens = vocabulary.token_bytes()
    states = -(-len(next_state) // _STATES_STEP) * _STATES_STEP
    table = np.zeros((states, vocab_size), np.int32)
    longest = max(len(token) for token in tokens if token is not None)
    letters = np.full((len(tokens), longest), -1)
    for row, token in enumerate(tokens):
        if token is not None:
            letters[row, : len(token)] = list(token)
    state = np.broadcast_to(np.arange(len(next_state))[:, None], (len(next_state), len(tokens)))
    hits: dict[int, np.ndarray] = {n: np.zeros(state.shape, bool) for n in range(len(texts))}
    for column in letters.T:
        there = column >= 0
        state = np.where(there, next_state[state, np.maximum(column, 0)], state)
        for number, hit in hits.items():
            hit |= there & accepting[number, state]
    # What lies beyond the start must be reached by tokens, too: else no output could ever hold it.
    reached = _reachable(state)
    for number, text in enumerate(texts):
        if not hits[number][reached].any():
            raise InputError(
                f"generation.stop_strings: no tokens of the vocabulary spell {text!r}, so it would never stop anything;"
                " remove it"
            )
    known = np.array([token is not None for token in tokens])
    hit = np.any(list(hits.values()), axis=0)
    kept = min(len(tokens), vocab_size)
    table[: len(next_state), :kept] = np.where(known, 2 * state + hit, 0)[:, :kept]
    return table


def _automaton(patterns: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Aho-Corasick over bytes: next state [state, 256], and whether a state ends each pattern [pattern, state]."""
    children: list[dict[int, int]] = [{}]
    ends: list[set[int]] = [set()]
    for number, pattern in enumerate(patterns):
        state = 0
        for letter in pattern:
            if letter not in children[state]:
                children[state][letter] = len(children)
                children.append({})
                ends.append(set())
            state = children[state][letter]
        ends[state].add(number)
    next_state = np.zeros((len(children), 256), np.int64)
    fallback = [0] * len(children)
    queue = [0]
    for state in queue:  # breadth first: a state's fallback is shorter, and so complete
        if state:
            next_state[state] = next_state[fallback[state]]
            ends[state] |= ends[fallback[state]]
        for letter, child in children[state].items():
            fallback[child] = int(next_state[state, letter]) if state else 0
            next_state[state, letter] = child
            queue.append(child)
    accepting = np.zeros((len(patterns), len(children)), bool)
    for state, numbers in enumerate(ends):
        accepting[list(numbers), state] = True
    return next_state, accepting


def _reachable(next_state: np.ndarray) -> list[int]:
    """The states that sequences of tokens lead to from the start."""
    found, queue = {0}, [0]
    for state in queue:
        new = set(np.unique(next_state[state]).tolist()) - found
        found |= new
        queue += sorted(new)
    return sorted(found)
