"""What jit sees of the generation settings: a static structure, and values in arrays that never recompile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.config import T5Config

# The cache and the token buffers are allocated in steps of this many tokens, so that a changed `max_new_tokens`
# mostly finds a compiled loop (and a TPU gets lengths that it tiles well).
CAPACITY_STEP = 32


@dataclasses.dataclass(frozen=True)
class Structure:
    """The settings that shape the compiled program; hashable.

    capacity: tokens a row has room for: max_new_tokens, rounded up to a multiple of CAPACITY_STEP.
    rows_per_input: rows decoded for each encoder input: beams, or samples.
    """

    capacity: int
    do_sample: bool
    num_beams: int
    num_return_sequences: int
    early_stopping: bool | str
    no_repeat_ngram_size: int
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int

    @property
    def rows_per_input(self) -> int:
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences


class Values(NamedTuple):
    """The settings that are data. [row] stands for one value an input when made, one a decoded row inside the loop.

    None switches a processor off, and is part of jit's cache key: a repetition penalty where there was none
    compiles once; another penalty does not.
    """

    max_new_tokens: Any  # int32 [row]
    min_new_tokens: Any  # int32 [row]
    temperature: Any = None  # float32 [row]; None unless sampling
    top_k: Any = None  # int32 [row], 0: off; None unless sampling
    top_p: Any = None  # float32 [row], 1: off; None unless sampling
    min_p: Any = None  # float32 [row]
    typical_p: Any = None  # float32 [row]
    repetition_penalty: Any = None  # float32 [row]
    length_penalty: Any = None  # float32 [row]; None unless beams
    suppressed: Any = None  # bool [vocab]
    begin_suppressed: Any = None  # bool [vocab]
    bad_words: Any = None  # int32 [words, longest], padded with -1 on the left
    forced_first: Any = None  # int32 []
    forced_last: Any = None  # int32 []

    def per_row(self, rows_per_input: int) -> Values:
        """The values of each decoded row: every [row] array repeated for the rows of its input."""
        repeated = {
            name: jax.numpy.repeat(getattr(self, name), rows_per_input, axis=0)
            for name in _PER_ROW
            if getattr(self, name) is not None
        }
        return self._replace(**repeated)


_PER_ROW = (
    "max_new_tokens min_new_tokens temperature top_k top_p min_p typical_p repetition_penalty length_penalty"
).split()


def prepare(settings: GenerationSettings, config: T5Config, batch: int) -> tuple[Structure, Values]:
    """Splits settings for a batch of `batch` encoder inputs into a static structure and arrays (numpy).

    Raises:
      InputError: an array setting of another length than the batch, or a token id outside the vocabulary.
    """

    def column(name: str, value: Any, dtype: Any) -> np.ndarray:
        array = np.asarray(value, dtype)
        if array.ndim == 1 and len(array) != batch:
            raise InputError(f"generation.{name} has {len(array)} values for a batch of {batch}")
        return np.broadcast_to(array, (batch,))

    def optional(name: str, neutral: float) -> np.ndarray | None:
        value = getattr(settings, name)
        return None if np.all(np.asarray(value) == neutral) else column(name, value, np.float32)

    def token(name: str, fallback: int | None) -> Any:
        value = getattr(settings, name)
        value = fallback if value is None else int(value)
        if value is not None:
            _check_ids(name, [value], config.vocab_size)
        return value

    fewest, most = settings.new_tokens()
    structure = Structure(
        capacity=-(-int(np.max(most)) // CAPACITY_STEP) * CAPACITY_STEP,
        do_sample=settings.do_sample,
        num_beams=int(settings.num_beams),
        num_return_sequences=int(settings.num_return_sequences),
        early_stopping=settings.early_stopping,
        no_repeat_ngram_size=int(settings.no_repeat_ngram_size),
        pad_token_id=token("pad_token_id", config.pad_token_id),
        eos_token_id=token("eos_token_id", config.eos_token_id),
        decoder_start_token_id=token("decoder_start_token_id", config.decoder_start_token_id),
    )
    if 2 * structure.num_beams > config.vocab_size:
        raise InputError(
            f"generation.num_beams = {structure.num_beams}: expected at most half of the vocabulary's "
            f"{config.vocab_size} tokens"
        )
    sampling = settings.do_sample
    forced_first = token("forced_bos_token_id", None)
    forced_last = token("forced_eos_token_id", None)
    bad_words = _without_eos(settings.bad_words_ids or (), structure.eos_token_id)
    _check_ids("bad_words_ids", [t for word in bad_words for t in word], config.vocab_size)
    values = Values(
        max_new_tokens=column("max_new_tokens", most, np.int32),
        min_new_tokens=column("min_new_tokens", fewest, np.int32),
        temperature=column("temperature", settings.temperature, np.float32) if sampling else None,
        top_k=column("top_k", settings.top_k, np.int32) if sampling else None,
        top_p=column("top_p", settings.top_p, np.float32) if sampling else None,
        min_p=optional("min_p", 0) if sampling else None,
        typical_p=optional("typical_p", 1) if sampling else None,
        repetition_penalty=optional("repetition_penalty", 1),
        length_penalty=(
            column("length_penalty", settings.length_penalty, np.float32)
            if structure.num_beams > 1
            else None
        ),
        suppressed=_token_set("suppress_tokens", settings.suppress_tokens, config.vocab_size),
        begin_suppressed=_token_set(
            "begin_suppress_tokens", settings.begin_suppress_tokens, config.vocab_size
        ),
        bad_words=_left_padded(bad_words) if bad_words else None,
        forced_first=None if forced_first is None else np.int32(forced_first),
        forced_last=None if forced_last is None else np.int32(forced_last),
    )
    return structure, values


def _without_eos(words: Sequence[Sequence[int]], eos_token_id: int) -> list[list[int]]:
    # As in transformers: eos cannot be a bad word of its own (a row could never end).
    return [list(word) for word in words if list(word) != [eos_token_id]]


def _left_padded(words: list[list[int]]) -> np.ndarray:
    longest = max(map(len, words))
    return np.array([[-1] * (longest - len(word)) + word for word in words], np.int32)


def _token_set(name: str, tokens: Sequence[int] | None, vocab_size: int) -> np.ndarray | None:
    if tokens is None or not len(tokens):
        return None
    _check_ids(name, tokens, vocab_size)
    members = np.zeros(vocab_size, bool)
    members[np.asarray(tokens)] = True
    return members


def _check_ids(name: str, tokens: Sequence[int], vocab_size: int) -> None:
    outside = [t for t in tokens if not 0 <= t < vocab_size]
    if outside:
        raise InputError(
            f"generation.{name}: token {outside[0]} is outside the vocabulary of {vocab_size}"
        )
