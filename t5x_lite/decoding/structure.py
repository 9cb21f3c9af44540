"""What jit sees of the generation settings: a static structure, and values in arrays that never recompile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.setting_checks import is_never
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stop_strings import stop_table
from t5x_lite.errors import InputError
from t5x_lite.foreign.sizes import refuse_larger
from t5x_lite.models.config import T5Config

# The cache and the token buffers are allocated in steps of this many tokens, so that a changed `max_new_tokens`
# mostly finds a compiled loop (and a TPU gets lengths that it tiles well).
CAPACITY_STEP = 32

# When beams stop, as a number that does not recompile.
EARLY_STOPPING: dict[bool | str, int] = {False: 0, True: 1, "never": 2}


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
    no_repeat_ngram_size: int
    encoder_no_repeat_ngram_size: int
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    decoder_start_token_id: int

    def with_room(self, tokens: int) -> Structure:
        """The same with room for so many tokens at least."""
        return dataclasses.replace(self, capacity=max(self.capacity, _capacity(tokens)))

    @property
    def rows_per_input(self) -> int:
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    @property
    def candidates(self) -> int:
        """Continuations that beams choose from: enough that `num_beams` run on even if the others all end."""
        return max(2, 1 + len(self.eos_token_ids)) * self.num_beams

    @property
    def least_kept(self) -> int:
        """Tokens that the filters of sampling leave at least: beams need one beside each eos."""
        return 1 if self.num_beams == 1 else 1 + max(1, len(self.eos_token_ids))


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
    encoder_repetition_penalty: Any = None  # float32 [row]
    length_penalty: Any = None  # float32 [row]; None unless beams
    early_stopping: Any = None  # int32 [], of EARLY_STOPPING; None unless beams
    suppressed: Any = None  # bool [vocab]
    begin_suppressed: Any = None  # bool [vocab]
    bad_words: Any = None  # int32 [words, longest], padded with -1 on the left
    forced_first: Any = None  # int32 []
    forced_last: Any = None  # int32 [tokens]: one of them
    stop_table: Any = None  # int32 [state, vocab], of `stop_strings.stop_table`
    # int32 [row, encoder_length]: what the encoder's penalties read. Put in while tracing, and only for them.
    encoder_tokens: Any = None

    def per_row(self, rows_per_input: int) -> Values:
        """The values of each decoded row: every [row] array repeated for the rows of its input."""
        repeated = {
            name: jax.numpy.repeat(getattr(self, name), rows_per_input, axis=0)
            for name in PER_ROW
            if getattr(self, name) is not None
        }
        return self._replace(**repeated)


PER_ROW = (
    "max_new_tokens min_new_tokens temperature top_k top_p min_p typical_p repetition_penalty"
    " encoder_repetition_penalty length_penalty encoder_tokens"
).split()


def prepare(
    settings: GenerationSettings,
    config: T5Config,
    batch: int,
    vocabulary: Vocabulary | None = None,
) -> tuple[Structure, Values]:
    """Splits settings for a batch of `batch` encoder inputs into a static structure and arrays (numpy).

    `vocabulary` says what text a token is, for stop strings.

    Raises:
      InputError: an array setting of another length than the batch, a token id outside the vocabulary, stop strings
        without a vocabulary or that it cannot spell; a cache that no memory holds.
    """
    structure = structure_of(settings, config)
    _refuse_large_cache(structure, config, batch)
    fewest, most = settings.new_tokens()
    values = Values(
        max_new_tokens=_column("max_new_tokens", most, np.int32, batch),
        min_new_tokens=_column("min_new_tokens", fewest, np.int32, batch),
        repetition_penalty=_optional(settings, "repetition_penalty", 1, batch),
        encoder_repetition_penalty=_optional(settings, "encoder_repetition_penalty", 1, batch),
        **_token_values(settings, config, structure),
        stop_table=_stop_table(settings, config, vocabulary),
    )
    if settings.do_sample:
        values = values._replace(
            temperature=_column("temperature", settings.temperature, np.float32, batch),
            top_k=_column("top_k", settings.top_k, np.int32, batch),
            top_p=_column("top_p", settings.top_p, np.float32, batch),
            min_p=_optional(settings, "min_p", 0, batch),
            typical_p=_optional(settings, "typical_p", 1, batch),
        )
    if structure.num_beams > 1:
        values = values._replace(
            length_penalty=_column("length_penalty", settings.length_penalty, np.float32, batch),
            early_stopping=np.int32(EARLY_STOPPING[settings.early_stopping]),
        )
    return structure, values


def _refuse_large_cache(structure: Structure, config: T5Config, batch: int) -> None:
    """Keys and values of the tokens that are to come, in a type of two bytes, over the hosts there are."""
    rows = batch * max(structure.num_beams, structure.num_return_sequences)
    layers = 2 * config.num_decoder_layers
    refuse_larger(
        (layers, rows, structure.capacity, config.num_heads * config.d_kv),
        2,
        f"generation: the cache of {structure.capacity:,} new tokens for {rows:,} sequences",
        hosts=jax.process_count(),
        way_out="ask for fewer new tokens, beams or rows",
    )


def structure_of(settings: GenerationSettings, config: T5Config) -> Structure:
    """What is static of settings, with the model's special tokens where they name none.

    Raises:
      InputError: a token id outside the vocabulary, or more beams than it has tokens for.
    """
    most = settings.new_tokens()[1]
    structure = Structure(
        capacity=_capacity(int(np.max(most))),
        do_sample=settings.do_sample,
        num_beams=int(settings.num_beams),
        num_return_sequences=int(settings.num_return_sequences),
        no_repeat_ngram_size=int(settings.no_repeat_ngram_size),
        pad_token_id=_token(settings, "pad_token_id", config, config.pad_token_id),
        encoder_no_repeat_ngram_size=int(settings.encoder_no_repeat_ngram_size),
        eos_token_ids=_eos_ids(settings, config),
        decoder_start_token_id=_token(
            settings, "decoder_start_token_id", config, config.decoder_start_token_id
        ),
    )
    if structure.num_beams > 1 and structure.candidates > config.vocab_size:
        raise InputError(
            f"generation.num_beams = {structure.num_beams}: they choose from {structure.candidates} tokens, but the "
            f"vocabulary has {config.vocab_size}"
        )
    return structure


def _capacity(tokens: int) -> int:
    return -(-tokens // CAPACITY_STEP) * CAPACITY_STEP


def _token_values(
    settings: GenerationSettings, config: T5Config, structure: Structure
) -> dict[str, Any]:
    """The fields of `Values` that are tokens, of all rows."""
    size = config.vocab_size
    first, last = _token(settings, "forced_bos_token_id", config), settings.forced_eos_token_id
    if last is not None:
        _check_ids("forced_eos_token_id", np.atleast_1d(last).tolist(), size)
    bad_words = _without_eos(settings.bad_words_ids or (), structure.eos_token_ids)
    _check_ids("bad_words_ids", [t for word in bad_words for t in word], size)
    return {
        "suppressed": _token_set("suppress_tokens", settings.suppress_tokens, size),
        "begin_suppressed": _token_set(
            "begin_suppress_tokens", settings.begin_suppress_tokens, size
        ),
        "bad_words": _left_padded(bad_words) if bad_words else None,
        "forced_first": None if first is None else np.int32(first),
        "forced_last": None if last is None else np.atleast_1d(np.asarray(last, np.int32)),
    }


def _column(name: str, value: Any, dtype: Any, batch: int) -> np.ndarray:
    """[batch], of a value for all rows or one for each."""
    array = np.asarray(value, dtype)
    if array.ndim == 1 and len(array) != batch:
        raise InputError(f"generation.{name} has {len(array)} values for a batch of {batch}")
    return np.broadcast_to(array, (batch,))


def _optional(
    settings: GenerationSettings, name: str, neutral: float, batch: int
) -> np.ndarray | None:
    """As `_column`; None where every row's value does nothing."""
    value = getattr(settings, name)
    neutral_everywhere = np.all(np.asarray(value) == neutral)
    return None if neutral_everywhere else _column(name, value, np.float32, batch)


def _token(
    settings: GenerationSettings, name: str, config: T5Config, fallback: int | None = None
) -> Any:
    value = getattr(settings, name)
    value = fallback if value is None else int(value)
    if value is not None:
        _check_ids(name, [value], config.vocab_size)
    return value


def _eos_ids(settings: GenerationSettings, config: T5Config) -> tuple[int, ...]:
    given = config.eos_token_id if settings.eos_token_id is None else settings.eos_token_id
    if is_never(given):
        return ()
    ids = tuple(dict.fromkeys(int(token) for token in np.atleast_1d(given)))
    _check_ids("eos_token_id", ids, config.vocab_size)
    return ids


def _stop_table(
    settings: GenerationSettings, config: T5Config, vocabulary: Vocabulary | None
) -> np.ndarray | None:
    texts = settings.stop_texts()
    if not texts:
        return None
    if vocabulary is None:
        raise InputError(
            "generation.stop_strings: the texts of tokens are needed; give the Generator a vocabulary"
        )
    return stop_table(texts, vocabulary, config.vocab_size)


def _without_eos(words: Sequence[Sequence[int]], eos_token_ids: Sequence[int]) -> list[list[int]]:
    # As in transformers: eos cannot be a bad word of its own (a row could never end).
    return [list(w) for w in words if len(w) != 1 or w[0] not in eos_token_ids]


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
