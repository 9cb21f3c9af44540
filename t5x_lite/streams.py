"""Random streams by name: what a run draws, it draws from a seed and the name of its use, so that no two share a draw.

A use that has no name here has no stream; a new one gets a line of its own. Within a stream, the numbers of the draw
(the step, the epoch, the row) keep its parts apart.
"""

from __future__ import annotations

import zlib

import jax
import numpy as np

NAMES = (
    # Weights
    "init",  # of a model, or a new head
    "adapter",
    "value_head",
    # Data
    "holdout",
    "shuffle",  # by epoch
    "packing",
    "shots",  # by row
    "spans",  # by epoch and text
    # Training
    "dropout",  # of supervised steps
    "own_texts",  # of distillation: which steps learn from the student's own texts
    "own_tokens",  # by step
    "rollout",  # by step
    "response_lengths",  # by step
    "update",  # of PPO: order and dropout, by step
    # Texts that are scored
    "decode",
    "measure",  # of PPO's evaluation, by batch
    "measured_lengths",
    # Statistics
    "bootstrap",
    "permutation",
    "constants",
    "shuffled_baseline",
)


def key(seed: int, name: str, *numbers: int) -> jax.Array:
    """A jax key of the stream.

    Raises:
      ValueError: there is no such stream.
    """
    made = jax.random.fold_in(jax.random.key(seed), _number(name))
    for number in numbers:
        made = jax.random.fold_in(made, number)
    return made


def generator(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """A numpy generator of the stream.

    numpy takes (seed,) and (seed, 0) for the same; so how many numbers there are is one of them.

    Raises:
      ValueError: there is no such stream.
    """
    return np.random.default_rng((seed, _number(name), len(numbers), *numbers))


def _number(name: str) -> int:
    if name not in NAMES:
        raise ValueError(f"there is no random stream {name!r}: name it in streams.NAMES")
    return zlib.crc32(name.encode())
