"""Generation as one compiled call: encode, cross-attention keys and values, and the whole token loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite import streams
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.beam_search import beam_search
from t5x_lite.decoding.cache import Cache, init_cache
from t5x_lite.decoding.sampling import Decoded, NextLogits, row_keys, sample
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import Structure, Values, prepare
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.gathered import on_sides
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import variables as model_variables
from t5x_lite.params.lora import with_output_scales


class GenerationOutput(NamedTuple):
    """Generated sequences; rows = batch x num_return_sequences, those of one input side by side, best beam first."""

    tokens: jax.Array  # int32 [rows, max_new_tokens]: without the start token, with eos, then pads
    lengths: jax.Array  # int32 [rows]: tokens up to and with eos
    scores: (
        jax.Array | None
    )  # float32 [rows]: beams' log-probability / length ** length_penalty; None without beams
    # float32 [rows, max_new_tokens], natural logarithms of each token's probability; 0 behind the end, None unless
    # asked for.
    logprobs: jax.Array | None  # under the model, before any processor
    processed_logprobs: (
        jax.Array | None
    )  # under what was drawn from; of beams, what each token added to the score
    steps: jax.Array  # int32 []: tokens decoded until every row was done


class Generator:
    """Generates with one model; compiles once for each shape of inputs and each structure of settings.

    Enter the mesh and the axis rules around all calls, as for training: activations and cache take their sharding
    from them. Temperatures, penalties, seeds and (in steps of 32 tokens) lengths are data and do not recompile.

    `compilations` counts the programs compiled so far. `vocabulary` says what text a token is: for stop strings.
    `room`: new tokens that every call has room for, and that its output is long, whatever its own bound: where lengths
    are drawn, call by call, one program serves them all.
    """

    def __init__(
        self,
        config: T5Config,
        execution: Execution,
        vocabulary: Vocabulary | None = None,
        room: int = 0,
    ):
        # Unrolled: a scan over layers would carry a stacked cache, and copy it for every token.
        execution = dataclasses.replace(execution, scan_layers=False, remat="none")
        self._model = T5(config, execution)
        self._run = jax.jit(self._trace, static_argnames=("structure", "with_logprobs"))
        self._vocabulary, self._room = vocabulary, room
        self.compilations = 0

    def generate(
        self,
        params: Any,
        encoder_input_tokens: jax.Array | np.ndarray,
        settings: GenerationSettings,
        rng: jax.Array | None = None,
        encoder_segment_ids: jax.Array | np.ndarray | None = None,
        *,
        row_ids: jax.Array | np.ndarray | None = None,
        with_logprobs: bool = False,
        adapters: Any = None,
    ) -> GenerationOutput:
        """Generates for a batch.

        Args:
          params: the canonical, unrolled tree.
          encoder_input_tokens: int32 [batch, length], padded on either side. Every new length compiles: pad to few.
          settings: what to generate.
          rng: needed for sampling only.
          encoder_segment_ids: int32 [batch, length], 0 = masked; by default every token but the pad is attended to.
          row_ids: int32 [batch], what distinguishes the rows' draws (default: 0, 1, ...). With the number of each
            example in its data set, a row draws the same tokens in whatever batch it is.
          with_logprobs: also return `logprobs` and `processed_logprobs`.
          adapters: the adapter tree that acts beside `params`, unrolled; None: none. Another one of the same shapes
            does not recompile.

        Raises:
          InputError: sampling without `rng`, stacked parameters, or settings that do not fit this batch or model.
        """
        batch = encoder_input_tokens.shape[0]
        structure, values = prepare(settings, self._model.config, batch, self._vocabulary)
        structure = structure.with_room(self._room)
        if structure.do_sample and rng is None:
            raise InputError("generation.do_sample: sampling needs an rng")
        if "layers" in params["decoder"]:
            raise InputError(
                "params/decoder/layers: generation takes unrolled parameters; unstack them"
            )
        decoded = self._run(
            params,
            (jnp.asarray(encoder_input_tokens, jnp.int32), encoder_segment_ids),
            values,
            rng if structure.do_sample else None,
            jnp.arange(batch) if row_ids is None else jnp.asarray(row_ids, jnp.int32),
            adapters or None,
            structure=structure,
            with_logprobs=with_logprobs,
        )
        longest = max(self._room, int(np.max(values.max_new_tokens)))
        trimmed = {
            name: None if array is None else array[:, :longest]
            for name, array in decoded._asdict().items()
            if name in ("tokens", "logprobs", "processed_logprobs")
        }
        return GenerationOutput(**{**decoded._asdict(), **trimmed})

    def generate_with_logprobs(
        self,
        params: Any,
        encoder_input_tokens: jax.Array | np.ndarray,
        settings: GenerationSettings,
        rng: jax.Array | None = None,
        encoder_segment_ids: jax.Array | np.ndarray | None = None,
        *,
        row_ids: jax.Array | np.ndarray | None = None,
        adapters: Any = None,
    ) -> GenerationOutput:
        """`generate`, with the log-probability of every token, from the same compiled loop: what a rollout needs.

        `logprobs` is float32 [rows, max_new_tokens]: log p(token | input, tokens before it) under the model itself,
        whatever temperature, top_k, min_length or penalty the token was chosen with. They are the log-probabilities
        that a teacher-forced pass over the same tokens gives: with decoder inputs (start token, then `tokens` without
        the last), logits[:, t] scores tokens[:, t]. The token that ends a row (eos, where there is one) has its own
        log-probability; behind it stand zeros, and `lengths` says how many count.

        `processed_logprobs` is the same under the distribution that the token was drawn from, after all processors:
        equal to `logprobs` where none is set. Both are needed to correct for sampling that was not from the model.

        Args and errors: as `generate`.
        """
        return self.generate(
            params,
            encoder_input_tokens,
            settings,
            rng,
            encoder_segment_ids,
            row_ids=row_ids,
            with_logprobs=True,
            adapters=adapters,
        )

    def lower(
        self,
        params: Any,
        encoder_input_tokens: jax.ShapeDtypeStruct,
        settings: GenerationSettings,
        *,
        with_logprobs: bool = False,
        adapters: Any = None,
    ) -> jax.stages.Lowered:
        """The program of `generate` for shapes alone (`jax.ShapeDtypeStruct` with shardings); nothing runs. Compiled,
        it tells what it costs.

        Raises:
          InputError: as `generate`.
        """
        batch = encoder_input_tokens.shape[0]
        structure, values = prepare(settings, self._model.config, batch, self._vocabulary)
        return self._run.lower(
            params,
            (encoder_input_tokens, None),
            values,
            jax.eval_shape(lambda: streams.key(0, "decode")) if structure.do_sample else None,
            jax.ShapeDtypeStruct((batch,), jnp.int32),
            adapters or None,
            structure=structure,
            with_logprobs=with_logprobs,
        )

    def trace_greedy(
        self, params: Any, encoder_input_tokens: jax.Array, structure: Structure, values: Values
    ) -> Decoded:
        """The greedy loop, for a caller that traces it itself: batch and length may be symbolic.

        structure, values: of `structure.prepare`, with a value a row.
        """
        rows = jnp.arange(encoder_input_tokens.shape[0])
        inputs = (encoder_input_tokens, None)
        return self._trace(
            params, inputs, values, None, rows, None, structure=structure, with_logprobs=False
        )

    def _trace(
        self,
        params: Any,
        inputs: tuple[jax.Array, jax.Array | None],
        values: Values,
        rng: jax.Array | None,
        row_ids: jax.Array,
        adapters: Any,
        *,
        structure: Structure,
        with_logprobs: bool,
    ) -> Decoded:
        """inputs: the encoder's tokens and segment ids."""
        self.compilations += 1  # Python runs while jit traces, and only then
        model = self._model
        encoder_input_tokens, encoder_segment_ids = inputs
        # DoRA's norms are of whole kernels: computed here, not with every token.
        acting = with_output_scales(params, adapters) if adapters else None
        variables = model_variables(params, acting)
        cross, encoder_segment_ids = encode_once(
            model, variables, encoder_input_tokens, encoder_segment_ids
        )
        next_logits = make_next_logits(model, variables, cross, encoder_segment_ids)
        rows_per_input = structure.rows_per_input
        if structure.encoder_no_repeat_ngram_size or values.encoder_repetition_penalty is not None:
            values = values._replace(encoder_tokens=encoder_input_tokens)
        values = values.per_row(rows_per_input)
        rows = encoder_input_tokens.shape[0] * rows_per_input
        cache = init_cache(model.config, rows, structure.capacity, model.execution.dtype)
        if structure.num_beams > 1:
            keys = None if rng is None else row_keys(rng, row_ids, 1)
            return beam_search(
                next_logits, cache, structure, values, keys, with_logprobs=with_logprobs
            )
        keys = None if rng is None else row_keys(rng, row_ids, rows_per_input)
        return sample(next_logits, cache, structure, values, keys, with_logprobs=with_logprobs)


# `on_sides`: a rollout's weights lie whole, and would be split to be gathered side by side, with every token.


@on_sides({})
def encode_once(
    model: T5,
    variables: Any,
    encoder_input_tokens: jax.Array,
    encoder_segment_ids: jax.Array | None,
) -> tuple[Any, jax.Array]:
    """What every decoder step reads of the input: cross-attention keys and values, and the segment ids."""
    apply: Any = model.apply
    if encoder_segment_ids is None:
        encoder_segment_ids = segment_ids_from_tokens(
            encoder_input_tokens, model.config.pad_token_id
        )
    encoded = apply(variables, encoder_input_tokens, encoder_segment_ids, method="encode")
    return apply(variables, encoded, method="cross_key_values"), encoder_segment_ids


def make_next_logits(
    model: T5, variables: Any, cross: Any, encoder_segment_ids: jax.Array
) -> NextLogits:
    """One step of the model, as the loops call it."""
    apply: Any = model.apply

    @on_sides({})
    def next_logits(
        tokens: jax.Array, position: jax.Array, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        hidden, cache = apply(
            variables,
            tokens[:, None],
            position,
            cache,
            cross,
            encoder_segment_ids,
            method="decode_step",
        )
        return apply(variables, hidden, method="project")[:, 0], cache

    return next_logits
