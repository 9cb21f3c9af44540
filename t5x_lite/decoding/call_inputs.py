"""What a person hands to a call: texts, token ids, batches; what is none of these is told before anything compiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.errors import InputError

ENCODER_INPUT = "encoder_input_tokens"
_LOGITS_INPUTS = (ENCODER_INPUT, "decoder_input_tokens")
_SEGMENT_IDS = ("encoder_segment_ids", "decoder_segment_ids")


def as_texts(texts: Any, name: str = "texts") -> list[str]:
    """The texts of a list, an array or a column of a table.

    Raises:
      InputError: a single text, a mapping (a tokenizer's output, say), a set, or no collection.
    """
    if isinstance(texts, str | bytes):
        raise InputError(f"{name}: expected a list of texts, got a single one; write [text]")
    if isinstance(texts, Mapping | set | frozenset) or not isinstance(texts, Iterable):
        raise InputError(f"{name}: expected a list of texts, got a {type(texts).__name__}")
    return list(texts)


def as_token_ids(tokens: Any, vocab_size: int, name: str = ENCODER_INPUT) -> np.ndarray:
    """int32 [batch, length]: ids that the model embeds. (Of others there is no embedding: NaN, or another token's.)

    Raises:
      InputError: another shape or type, or an id that is none.
    """
    try:
        array = np.asarray(tokens)
    except ValueError as error:
        raise InputError(
            f"{name}: rows of several lengths; fill them up with the pad token"
        ) from error
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name}: expected [batch, length], got the shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name}: expected whole numbers, got {array.dtype}")
    if (outside := (array < 0) | (array >= vocab_size)).any():
        raise InputError(
            f"{name}: {int(array[outside][0])} is no token of the model, which embeds 0 to {vocab_size - 1}; places"
            " without a token hold the pad token"
        )
    return array.astype(np.int32)


def logits_inputs(batch: Mapping[str, Any], vocab_size: int) -> list[jax.Array | None]:
    """Both inputs and both segment ids of a batch, int32 [batch, length]; None for segment ids that it has not.

    Raises:
      InputError: an input is missing, holds what is no token, or has other rows than the other.
    """
    for name in _LOGITS_INPUTS:
        if name not in batch:
            raise InputError(f"logits: the batch has no {name}; it has {', '.join(batch)}")
    inputs = [as_token_ids(batch[name], vocab_size, name) for name in _LOGITS_INPUTS]
    if len(inputs[0]) != len(inputs[1]):
        raise InputError(
            f"logits: {len(inputs[0])} rows of {_LOGITS_INPUTS[0]} and {len(inputs[1])} of {_LOGITS_INPUTS[1]}"
        )
    segments = (batch.get(name) for name in _SEGMENT_IDS)
    return [
        *map(jnp.asarray, inputs),
        *(None if ids is None else jnp.asarray(ids, jnp.int32) for ids in segments),
    ]
