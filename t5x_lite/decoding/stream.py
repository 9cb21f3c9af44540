"""Streaming: the tokens of one input as they are chosen, and their text piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.cache import init_cache
from t5x_lite.decoding.generate import encode_once, make_next_logits
from t5x_lite.decoding.sampling import State, begin, resume, row_keys
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import Structure, Values, prepare
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import variables as model_variables
from t5x_lite.params.lora import with_output_scales

# What a decoder shows for bytes that are no whole character yet.
_INCOMPLETE = "\ufffd"


class Streamer:
    """Generates for one input, a token at a time: `Generator`'s loop, left after every token.

    Two programs are compiled for each shape of inputs and structure of settings; `compilations` counts them.
    """

    def __init__(
        self, config: T5Config, execution: Execution, vocabulary: Vocabulary | None = None
    ):
        execution = dataclasses.replace(execution, scan_layers=False, remat="none")
        self._model = T5(config, execution)
        self._vocabulary = vocabulary
        self._begin = jax.jit(self._trace_begin, static_argnames="structure")
        # The state is donated: the cache is updated in place.
        self._resume = jax.jit(self._trace_resume, static_argnames="structure", donate_argnums=0)
        self.compilations = 0

    def stream(
        self,
        params: Any,
        encoder_input_tokens: jax.Array | np.ndarray,
        settings: GenerationSettings,
        rng: jax.Array | None = None,
        *,
        adapters: Any = None,
    ) -> Iterator[int]:
        """The tokens that `Generator.generate` gives for the same input, settings and rng, each when it is chosen.

        Args:
          params: the canonical, unrolled tree.
          encoder_input_tokens: int32 [1, length].
          settings: what to generate; greedy or sampling.
          rng: needed for sampling only.
          adapters: the adapter tree that acts beside `params`; None: none.

        Raises:
          InputError: beams or several sequences, sampling without `rng`, or settings that do not fit the model; at
            once, before anything is compiled.
        """
        check_streamable(settings)
        if np.ndim(encoder_input_tokens) != 2 or len(encoder_input_tokens) != 1:
            shape = np.shape(encoder_input_tokens)
            raise InputError(f"encoder_input_tokens: streaming takes [1, length], got {shape}")
        structure, values = prepare(settings, self._model.config, 1, self._vocabulary)
        if structure.do_sample and rng is None:
            raise InputError("generation.do_sample: sampling needs an rng")
        tokens = jnp.asarray(encoder_input_tokens, jnp.int32)
        keys = row_keys(rng, jnp.arange(1), 1) if structure.do_sample and rng is not None else None
        return self._tokens(params, adapters or None, tokens, structure, values, keys)

    def _tokens(
        self,
        params: Any,
        adapters: Any,
        tokens: jax.Array,
        structure: Structure,
        values: Values,
        keys: jax.Array | None,
    ) -> Iterator[int]:
        if structure.encoder_no_repeat_ngram_size or values.encoder_repetition_penalty is not None:
            values = values._replace(encoder_tokens=tokens)
        state, acting, encoded = self._begin(params, adapters, tokens, structure=structure)
        done, step = False, 0
        while not done and step < structure.capacity:
            step += 1
            state = self._resume(
                state,
                jnp.int32(step),
                params,
                acting,
                encoded,
                values,
                keys,
                structure=structure,
            )
            done = bool(state.done[0])
            yield int(state.tokens[0, step])

    def _trace_begin(
        self, params: Any, adapters: Any, tokens: jax.Array, *, structure: Structure
    ) -> tuple[State, Any, tuple[Any, jax.Array]]:
        self.compilations += 1
        model = self._model
        acting = with_output_scales(params, adapters) if adapters else None
        encoded = encode_once(model, model_variables(params, acting), tokens, None)
        cache = init_cache(model.config, 1, structure.capacity, model.execution.dtype)
        return begin(cache, structure, 1, with_logprobs=False), acting, encoded

    def _trace_resume(
        self,
        state: State,
        until: jax.Array,
        params: Any,
        acting: Any,
        encoded: tuple[Any, jax.Array],
        values: Values,
        keys: jax.Array | None,
        *,
        structure: Structure,
    ) -> State:
        self.compilations += 1
        variables = model_variables(params, acting)
        next_logits = make_next_logits(self._model, variables, *encoded)
        return resume(next_logits, state, until, structure, values, keys)


def check_streamable(settings: GenerationSettings) -> None:
    """Refuses settings whose output is known only at the end.

    Raises:
      InputError: beams, or several sequences for one input.
    """
    if settings.num_beams > 1:
        raise InputError(
            f"generation.num_beams = {settings.num_beams}: beams have no output before the end; stream with"
            " num_beams = 1"
        )
    if settings.num_return_sequences > 1:
        raise InputError(
            f"generation.num_return_sequences = {settings.num_return_sequences}: one text is streamed; leave it out"
        )


class Pieces:
    """The text of tokens in pieces, each as soon as it is certain; together they are `vocabulary.decode`'s text.

    A character of several byte tokens comes whole.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._ids: list[int] = []
        self._shown = self._text = ""

    def push(self, tokens: Iterable[int]) -> str:
        """What is certain of the text with these tokens behind those before; "" where nothing is yet."""
        self._ids.extend(tokens)
        (self._text,) = self._vocabulary.decode([self._ids])
        certain = self._text.rstrip(_INCOMPLETE)
        if len(certain) <= len(self._shown) or not certain.startswith(self._shown):
            return ""
        piece = certain[len(self._shown) :]
        self._shown = certain
        return piece

    def rest(self) -> str:
        """What there is left when no token comes any more."""
        return self._text[len(self._shown) :]


def text_pieces(tokens: Iterable[int], vocabulary: Vocabulary) -> Iterator[str]:
    """The text of `tokens` in pieces, see `Pieces`."""
    pieces = Pieces(vocabulary)
    for token in tokens:
        if piece := pieces.push([token]):
            yield piece
    if rest := pieces.rest():
        yield rest
