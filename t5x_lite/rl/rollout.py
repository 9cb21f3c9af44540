"""From prompts to responses that PPO can train on: generated with a cache, then scored teacher-forced.

A token at position t is predicted from the shifted decoder inputs: `logits[:, t]` scores response token t, the first
one included. Responses are what the decoder wrote, without the start token, with eos, then pads.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite import streams
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.axes import constrain
from t5x_lite.rl.policy import Policy

Tree = Any


class Responses(NamedTuple):
    """What the policy wrote, on the devices; rows = prompts x samples_per_prompt, those of one prompt side by side."""

    inputs: dict[
        str, jax.Array
    ]  # a T5 batch: encoder_input_tokens, decoder_input_tokens, decoder_target_tokens
    mask: jax.Array  # float32 [rows, length]: 1 on response tokens, eos included
    lengths: jax.Array  # int32 [rows], with eos
    ended: jax.Array  # bool [rows]: has an eos
    sampler_logprobs: jax.Array  # float32 [rows, length], of the policy, as the sampler saw them


class Scored(NamedTuple):
    """Teacher-forced: float32 [rows, length] each."""

    logprobs: jax.Array
    ref_logprobs: jax.Array
    values: jax.Array


class Prompts(NamedTuple):
    """The prompts of a step. rows: which rows of the data they are, -1 for one that only fills the batch."""

    encoder_input_tokens: np.ndarray  # int32 [prompts, length]
    rows: np.ndarray  # int [prompts]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How responses become a batch.

    length: what they are padded to, so that one program trains them all; every response ends by then.
    mask_first_token: the labs' quirk: the first response token counts for nothing.
    """

    length: int
    mask_first_token: bool
    start_id: int
    eos_ids: tuple[int, ...]
    pad_id: int


def draw_lengths(
    bounds: tuple[int, ...], rows: int, seed: int, step: int, stream: str = "response_lengths"
) -> np.ndarray:
    """The most new tokens of each prompt, uniform over bounds[0] .. bounds[1] - 1 as the labs' LengthSampler."""
    lowest, above = bounds
    drawn = streams.generator(seed, stream, step).integers(lowest, above, size=rows)
    return drawn.astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Roller:
    """What does not change from rollout to rollout.

    generation_params: (trainable, frozen) -> parameters laid out for generation (`policy.make_resharding`).
    score: of `make_scorer`.
    settings: sampling, with `num_return_sequences` = samples_per_prompt.
    length_range: draws each prompt's own limit uniformly from length_range[0] .. length_range[1] - 1; None: no draw.
    put: places rows on the devices.
    draws: the random streams (`streams.NAMES`) of tokens and lengths.
    """

    generator: Generator
    generation_params: Callable[[Tree, Tree], Tree]
    score: Callable[[Tree, Tree, Tree, dict[str, jax.Array]], Scored]
    settings: GenerationSettings
    layout: Layout
    length_range: tuple[int, ...] | None
    put: Callable[[Any], jax.Array]
    seed: int
    draws: tuple[str, str] = ("rollout", "response_lengths")

    def respond(self, trainable: Tree, frozen: Tree, prompts: Prompts, step: int) -> Responses:
        """The responses of a step, a function of (seed, step, weights) alone.

        Raises:
          InputError: settings that do not sample.
        """
        settings = self.settings
        if not settings.do_sample or settings.num_beams > 1:
            raise InputError(
                "generation.do_sample: a rollout samples; set it to True, without beams"
            )
        if self.length_range is not None:
            drawn = draw_lengths(
                self.length_range, len(prompts.rows), self.seed, step, self.draws[1]
            )
            settings = settings.updated({"max_new_tokens": drawn})
        rng = streams.key(self.seed, self.draws[0], step)
        tokens = self.put(prompts.encoder_input_tokens)
        output = self.generator.generate_with_logprobs(
            self.generation_params(trainable, frozen), tokens, settings, rng
        )
        # Of the policy, which has the temperature. Through other filters beside one the draws are not the policy's, and
        # `preflight` finds the gap.
        tempered = np.any(np.asarray(settings.temperature) != 1)
        logprobs = output.processed_logprobs if tempered else output.logprobs
        return _lay_out(tokens, output.tokens, logprobs, output.lengths, self.layout)


def as_inputs(
    prompts: jax.Array, tokens: jax.Array, lengths: jax.Array, layout: Layout
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Generated tokens as a T5 batch of teacher forcing, and bool [rows, length], which of them count: up to and with
    eos. prompts: [prompts, length]; tokens: [rows, at most layout.length]; lengths: [rows].
    """
    room = ((0, 0), (0, layout.length - tokens.shape[1]))
    tokens = jnp.pad(tokens, room, constant_values=layout.pad_id)
    counts = jnp.arange(layout.length)[None] < lengths[:, None]
    shifted = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=layout.start_id)
    inputs = {
        "encoder_input_tokens": jnp.repeat(prompts, len(tokens) // len(prompts), axis=0),
        "decoder_input_tokens": shifted,
        "decoder_target_tokens": tokens,
    }
    return inputs, counts


@functools.partial(jax.jit, static_argnames="layout")
def _lay_out(
    prompts: jax.Array,
    tokens: jax.Array,
    logprobs: jax.Array,
    lengths: jax.Array,
    layout: Layout,
) -> Responses:
    """On the devices: no process sees all rows."""
    room = ((0, 0), (0, layout.length - logprobs.shape[1]))
    inputs, counts = as_inputs(prompts, tokens, lengths, layout)
    tokens = inputs["decoder_target_tokens"]
    ended = (jnp.isin(tokens, jnp.array(layout.eos_ids)) & counts).any(axis=1)
    if layout.mask_first_token:
        counts = counts.at[:, 0].set(False)
    by_token = (inputs, counts.astype(jnp.float32), jnp.pad(logprobs, room))
    inputs, mask, logprobs = jax.tree.map(lambda x: constrain(x, "batch", "length"), by_token)
    lengths, ended = (constrain(x, "batch") for x in (lengths, ended))
    return Responses(inputs, mask, lengths, ended, logprobs)


def make_scorer(policy: Policy) -> Callable[[Tree, Tree, Tree, dict[str, jax.Array]], Scored]:
    """Makes `score(trainable, frozen, reference, inputs) -> Scored`, jitted; `reference` are variables for `apply`."""

    def score(
        trainable: Tree, frozen: Tree, reference: Tree, inputs: dict[str, jax.Array]
    ) -> Scored:
        new = policy.forward(trainable, frozen, inputs, None)
        return Scored(new.logprobs, policy.logprobs(reference, inputs), new.values)

    return jax.jit(score)


def other_side(tokens: jax.Array, pad_id: int) -> jax.Array:
    """The same rows with their padding on the left: int32 [rows, length]."""
    shift = (tokens == pad_id).sum(axis=1)
    places = (jnp.arange(tokens.shape[1])[None] - shift[:, None]) % tokens.shape[1]
    return jnp.take_along_axis(tokens, places, axis=1)
