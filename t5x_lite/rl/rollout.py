"""From prompts to responses that PPO can train on: generated with a cache, then scored teacher-forced.

A token at position t is predicted from the shifted decoder inputs: `logits[:, t]` scores response token t, the first
one included. Responses are what the decoder wrote, without the start token, with eos, then pads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
    sampler_logprobs: jax.Array  # float32 [rows, length], unprocessed, as the sampler saw them


class Scored(NamedTuple):
    """Teacher-forced: float32 [rows, length] each."""

    logprobs: jax.Array
    ref_logprobs: jax.Array
    values: jax.Array


def draw_lengths(bounds: tuple[int, int], rows: int, seed: int, step: int) -> np.ndarray:
    """The most new tokens of each prompt, uniform over bounds[0] .. bounds[1] - 1 as the labs' LengthSampler."""
    return np.random.default_rng((seed, step)).integers(*bounds, size=rows).astype(np.int32)


def respond(
    generator: Generator,
    params: Tree,
    encoder_input_tokens: jax.Array,
    settings: GenerationSettings,
    rng: jax.Array,
    *,
    length: int,
    mask_first_token: bool,
    start_id: int,
    eos_id: int,
    pad_id: int,
) -> Responses:
    """Generates a response (or several) to every prompt, and lays them out as a teacher-forced batch.

    Args:
      params: gathered for generation (`policy.make_resharding`).
      encoder_input_tokens: int32 [prompts, encoder_length], on the devices.
      settings: sampling, with `num_return_sequences` = samples_per_prompt.
      length: what responses are padded to, so that one program trains them all.
      mask_first_token: the labs' quirk: the first response token counts for nothing.

    Raises:
      InputError: settings that do not sample.
    """
    if not settings.do_sample or settings.num_beams > 1:
        raise InputError("generation.do_sample: a rollout samples; set it to True, without beams")
    output = generator.generate_with_logprobs(params, encoder_input_tokens, settings, rng)
    return _lay_out(
        encoder_input_tokens,
        output.tokens,
        output.logprobs,
        output.lengths,
        length=length,
        mask_first_token=mask_first_token,
        start_id=start_id,
        eos_id=eos_id,
        pad_id=pad_id,
    )


@functools.partial(
    jax.jit, static_argnames=("length", "mask_first_token", "start_id", "eos_id", "pad_id")
)
def _lay_out(
    prompts: jax.Array,
    tokens: jax.Array,
    logprobs: jax.Array,
    lengths: jax.Array,
    *,
    length: int,
    mask_first_token: bool,
    start_id: int,
    eos_id: int,
    pad_id: int,
) -> Responses:
    """On the devices: no process sees all rows."""
    room = ((0, 0), (0, length - tokens.shape[1]))
    tokens = jnp.pad(tokens, room, constant_values=pad_id)
    counts = jnp.arange(length)[None] < lengths[:, None]
    ended = ((tokens == eos_id) & counts).any(axis=1)
    if mask_first_token:
        counts = counts.at[:, 0].set(False)
    shifted = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=start_id)
    samples = len(tokens) // len(prompts)
    inputs = {
        "encoder_input_tokens": jnp.repeat(prompts, samples, axis=0),
        "decoder_input_tokens": shifted,
        "decoder_target_tokens": tokens,
    }
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
