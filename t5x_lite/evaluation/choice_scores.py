"""How likely a model finds given answers: of each row an input and its choices, each read teacher-forced.

The encoder reads an input once, however many choices it has; the decoder reads them one after the other.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.console import progress
from t5x_lite.decoding.call_shapes import LENGTH_STEP, bucket
from t5x_lite.errors import InputError
from t5x_lite.models.logprobs import ranked_logprobs
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5 import T5, project
from t5x_lite.params.adapters import variables
from t5x_lite.params.gather import whole

_CHUNK = 32  # decoder positions whose logits exist at a time
_CHOICE_STEP = 8  # tokens

Ids = Sequence[int]
Put = Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class ChoiceScores:
    """Of one row's choices, in their order.

    logprobs: float64 [choices], sums over a choice's tokens, nats. tokens: int [choices].
    greedy: bool [choices], whether greedy decoding would begin with just these tokens.
    """

    logprobs: np.ndarray
    tokens: np.ndarray
    greedy: np.ndarray


class ChoiceScorer:
    """Scores choices under a model, in batches of few shapes; `compilations` counts the programs.

    put: lays a batch of numpy arrays on the devices; row_multiple: what the number of its rows must be a multiple of.
    """

    def __init__(self, model: T5, put: Put | None = None, row_multiple: int = 1):
        self._model, self._multiple = model, row_multiple
        self._put: Put = put or (lambda batch: {name: jnp.asarray(x) for name, x in batch.items()})
        self.compilations = 0
        self._apply = jax.jit(self._trace)

    def score(
        self,
        params: Any,
        adapters: Any,
        inputs: Sequence[Ids],
        choices: Sequence[Sequence[Ids]],
        *,
        batch_tokens: int,
    ) -> list[ChoiceScores]:
        """The scores of every row.

        Of several processes all must call this, with the same rows.

        Args:
          params, adapters: unrolled, or as the model is.
          inputs: of each row the encoder's tokens. choices: of each row the tokens of each choice, at least one each.
          batch_tokens: encoder tokens of a batch, at most (but at least `row_multiple` rows).

        Raises:
          InputError: another number of rows on one side, or a row without choices.
        """
        if len(inputs) != len(choices):
            raise InputError(
                f"choices: {len(choices)} lists of them for {len(inputs)} texts; give one a text"
            )
        if empty := [row for row, own in enumerate(choices) if not len(own)]:
            raise InputError(f"choices: row {empty[0]} has none")
        scores: list[Any] = [None] * len(inputs)
        with progress(len(inputs), "scoring choices", "row") as bar:
            for rows, batch in self._batches(inputs, choices, batch_tokens):
                found = self._apply(params, adapters or None, **self._put(batch))
                logprobs, greedy = (whole(each) for each in found)
                for place, row in enumerate(rows):
                    count = len(choices[row])
                    scores[row] = ChoiceScores(
                        logprobs[place, :count].astype(np.float64),
                        batch["lengths"][place, :count],
                        greedy[place, :count],
                    )
                bar.update(len(rows))
        return scores

    def _batches(
        self, inputs: Sequence[Ids], choices: Sequence[Sequence[Ids]], batch_tokens: int
    ) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
        """Rows of one shape together, and their arrays; what fills a batch up is of pads."""
        of_shape: dict[tuple[int, int, int], list[int]] = {}
        for row, (tokens, own) in enumerate(zip(inputs, choices, strict=True)):
            longest = max(map(len, own))
            shape = (
                bucket(len(tokens), LENGTH_STEP),
                bucket(len(own)),
                bucket(longest, _CHOICE_STEP),
            )
            of_shape.setdefault(shape, []).append(row)
        for (length, count, longest), members in sorted(of_shape.items()):
            most = max(batch_tokens // length, 1)
            most = max(most // self._multiple, 1) * self._multiple
            size = min(most, -(-bucket(len(members)) // self._multiple) * self._multiple)
            for start in range(0, len(members), size):
                rows = members[start : start + size]
                yield rows, self._batch(rows, inputs, choices, (size, length, count, longest))

    def _batch(
        self,
        rows: Sequence[int],
        inputs: Sequence[Ids],
        choices: Sequence[Sequence[Ids]],
        shape: tuple[int, int, int, int],
    ) -> dict[str, np.ndarray]:
        """encoder_input_tokens int32 [rows, length], targets int32 [rows, choices, length], lengths int32
        [rows, choices], 0 where a row has no such choice.
        """
        size, length, count, longest = shape
        pad = self._model.config.pad_token_id
        tokens = np.full((size, length), pad, np.int32)
        targets = np.full((size, count, longest), pad, np.int32)
        lengths = np.zeros((size, count), np.int32)
        for place, row in enumerate(rows):
            tokens[place, : len(inputs[row])] = inputs[row]
            for number, choice in enumerate(choices[row]):
                targets[place, number, : len(choice)] = choice
                lengths[place, number] = len(choice)
        return {"encoder_input_tokens": tokens, "targets": targets, "lengths": lengths}

    def _trace(
        self,
        params: Any,
        adapters: Any,
        encoder_input_tokens: jax.Array,
        targets: jax.Array,
        lengths: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Shapes of `_batch` -> float32 and bool [rows, choices]."""
        self.compilations += 1  # Python runs while jit traces, and only then
        inputs, config = variables(params, adapters), self._model.config
        ids = segment_ids_from_tokens(encoder_input_tokens, config.pad_token_id)
        encoded = self._model.apply(inputs, encoder_input_tokens, ids, method="encode")
        kernel: Any = self._model.apply(inputs, method="output_kernel")
        start = jnp.full((len(encoder_input_tokens), 1), config.decoder_start_token_id, jnp.int32)

        def of_choice(_: None, choice: tuple[jax.Array, jax.Array]) -> tuple[None, Any]:
            wanted, length = choice  # [rows, length], [rows]
            before = jnp.concatenate([start, wanted[:, :-1]], axis=1)
            hidden: Any = self._model.apply(inputs, before, encoded, ids, method="decode")
            logprobs, best = ranked_logprobs(
                functools.partial(project, config), kernel, hidden, wanted, chunk=_CHUNK
            )
            there = jnp.arange(wanted.shape[1])[None, :] < length[:, None]
            return None, (
                jnp.sum(jnp.where(there, logprobs, 0), axis=1),
                jnp.all(best | ~there, axis=1),
            )

        _, (sums, greedy) = jax.lax.scan(
            of_choice, None, (jnp.moveaxis(targets, 1, 0), jnp.moveaxis(lengths, 1, 0))
        )
        return sums.T, greedy.T
