"""Generation settings in the vocabulary of `transformers.GenerationConfig`: read, checked, and made ready for jit."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from t5x_lite.errors import InputError

# A number, or an array [batch] with one number a row.
PerRow = Any

# Written by transformers beside the settings; they say nothing about decoding.
_METADATA = ("transformers_version", "_from_model_config", "_commit_hash")

# GenerationConfig's fields that are not supported, with the value at which each has no effect
# (a `generation_config.json` may spell those out).
_UNSUPPORTED: dict[str, Any] = {
    "max_time": None,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "constraints": None,
    "force_words_ids": None,
    "penalty_alpha": None,
    "dola_layers": None,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "token_healing": False,
    "guidance_scale": None,
    "watermarking_config": None,
    "use_cache": True,
    "cache_implementation": None,
    "cache_config": None,
    "max_cache_len": None,
    "low_memory": None,
    "use_mtp": None,
    "prompt_lookup_num_tokens": None,
    "max_matching_ngram_size": None,
    "assistant_early_exit": None,
    "is_assistant": False,
    "compile_config": None,
    "disable_compile": None,
    "prefill_chunk_size": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "output_logits": False,
    "return_dict_in_generate": False,
}

# Where to find what some of these are for.
_SCORES = "Pretrained.generate_with_scores gives texts with scores and log-probabilities"
_ELSEWHERE = {
    "return_dict_in_generate": _SCORES,
    "output_scores": _SCORES,
    "output_logits": "Pretrained.logits gives them for the generated tokens",
}

# Fields that mean something in one kind of decoding only, with the value at which they have no effect.
# `top_k` counts as untouched at 50 too: that is GenerationConfig's default, sampling or not.
_SAMPLING_ONLY: dict[str, tuple[Any, ...]] = {
    "temperature": (1.0,),
    "top_k": (50, 0),
    "top_p": (1.0,),
    "min_p": (0.0,),
    "typical_p": (1.0,),
}
_BEAMS_ONLY: dict[str, tuple[Any, ...]] = {"length_penalty": (1.0,), "early_stopping": (False,)}

# Two names for one bound: giving one in an override retires the other.
_RIVALS = {
    "max_new_tokens": "max_length",
    "max_length": "max_new_tokens",
    "min_new_tokens": "min_length",
    "min_length": "min_new_tokens",
}

_NEW_TOKENS_BY_DEFAULT = 20


@dataclasses.dataclass(frozen=True, eq=False)
class GenerationSettings:
    """What to generate, with the names, meanings and defaults of `transformers.GenerationConfig` (5.23).

    Numbers marked [row] may be arrays [batch] with one value a row of the batch. `max_length` and `min_length` count
    the decoder start token, `max_new_tokens` and `min_new_tokens` do not. With neither maximum, 20 new tokens.
    Special token ids left at None are the model's.

    Raises:
      InputError: a value out of range, or settings that contradict each other; the message names the field.
    """

    max_new_tokens: PerRow | None = None  # [row]
    max_length: PerRow | None = None  # [row]
    min_new_tokens: PerRow | None = None  # [row]
    min_length: PerRow = 0  # [row]
    do_sample: bool = False
    temperature: PerRow = 1.0  # [row]
    top_k: PerRow = 50  # [row], 0: off
    top_p: PerRow = 1.0  # [row], 1: off
    min_p: PerRow = 0.0  # [row], 0: off
    typical_p: PerRow = 1.0  # [row], 1: off
    num_beams: int = 1
    length_penalty: PerRow = 1.0  # [row]
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    repetition_penalty: PerRow = 1.0  # [row], 1: off
    encoder_repetition_penalty: PerRow = 1.0  # [row], 1: off
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] | None = None
    suppress_tokens: Sequence[int] | None = None
    begin_suppress_tokens: Sequence[int] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | Sequence[int] | None = None  # several: each may be the last
    pad_token_id: int | None = None
    bos_token_id: int | None = (
        None  # T5 has none: accepted, since checkpoints name it, and not used
    )
    eos_token_id: int | Sequence[int] | None = None  # several: each of them ends a row
    stop_strings: str | Sequence[str] | None = None  # a row ends with the token that completes one
    decoder_start_token_id: int | None = None

    # The section of a config that these come from, as it was given: config.json holds that.
    given_values: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        self._check_values()
        self._check_contradictions()

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], where: str = "generation"
    ) -> GenerationSettings:
        """Settings from a config section, keyword arguments or the content of a `generation_config.json`.

        A field of None is the default. `where` names the origin in messages, in place of "generation".

        Raises:
          InputError: an unknown field, a field of GenerationConfig that is not supported, or a bad value.
        """
        with _named(where):
            settings = cls(**_known_fields(mapping, where))
        object.__setattr__(settings, "given_values", dict(mapping))
        return settings

    @classmethod
    def from_file(cls, path: str | pathlib.Path) -> GenerationSettings:
        """Settings from a model's `generation_config.json`.

        Raises:
          InputError: the file is missing or is not JSON, or as `from_mapping`.
        """
        try:
            mapping = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a generation_config.json ({error})") from error
        if not isinstance(mapping, dict):
            raise InputError(f"{path}: expected a JSON object of generation settings")
        return cls.from_mapping(mapping, where=str(path))

    def updated(
        self, overrides: Mapping[str, Any], where: str = "generation"
    ) -> GenerationSettings:
        """These settings with others on top, as `model.generate(**overrides)` does over a model's own file.

        What an override makes meaningless goes back to its default: `max_length` under a new `max_new_tokens`,
        a temperature under `do_sample=False`, a length penalty under `num_beams=1`.
        """
        given = _known_fields(overrides, where)
        retired = [_RIVALS[name] for name in given if name in _RIVALS]
        if given.get("do_sample") is False:
            retired += _SAMPLING_ONLY
        if given.get("num_beams") == 1:
            retired += _BEAMS_ONLY
        defaults = {f.name: f.default for f in dataclasses.fields(self) if f.name in retired}
        with _named(where):
            return dataclasses.replace(self, **{**defaults, **given})

    def new_tokens(self) -> tuple[PerRow, PerRow]:
        """The fewest and the most new tokens, without the decoder start token (and with eos).

        Raises:
          InputError: more are asked for than there may be.
        """
        if self.max_new_tokens is not None:
            most = self.max_new_tokens
        elif self.max_length is not None:
            most = np.asarray(self.max_length) - 1
        else:
            most = _NEW_TOKENS_BY_DEFAULT
        fewest = self.min_new_tokens
        if fewest is None:
            fewest = np.maximum(np.asarray(self.min_length) - 1, 0)
        if np.any(np.asarray(fewest) > np.asarray(most)):
            raise InputError(
                f"generation: at least {fewest} and at most {most} new tokens asked for; raise max_new_tokens"
            )
        return fewest, most

    def stop_texts(self) -> tuple[str, ...]:
        """The stop strings; empty without any."""
        if isinstance(self.stop_strings, str):
            return (self.stop_strings,)
        return tuple(self.stop_strings or ())

    def _check_values(self) -> None:
        if not isinstance(self.do_sample, bool):
            raise _bad("do_sample", self.do_sample, "true or false")
        for name in ("num_beams", "num_return_sequences"):
            _check_number(name, getattr(self, name), integer=True, scalar=True, low=1)
        for name in ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"):
            _check_number(name, getattr(self, name), integer=True, scalar=True, low=0)
        for name, low in (("max_new_tokens", 1), ("max_length", 2), ("min_new_tokens", 0)):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), integer=True, low=low)
        _check_number("min_length", self.min_length, integer=True, low=0)
        _check_number("top_k", self.top_k, integer=True, low=0)
        _check_number("temperature", self.temperature, above=0)
        _check_number("top_p", self.top_p, above=0, high=1)
        _check_number("typical_p", self.typical_p, above=0, high=1)
        _check_number("min_p", self.min_p, low=0, high=1)
        _check_number("repetition_penalty", self.repetition_penalty, above=0)
        _check_number("encoder_repetition_penalty", self.encoder_repetition_penalty, above=0)
        _check_number("length_penalty", self.length_penalty)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise _bad("early_stopping", self.early_stopping, 'true, false or "never"')
        for name in ("suppress_tokens", "begin_suppress_tokens"):
            if getattr(self, name) is not None:
                _check_ids(name, getattr(self, name))
        if self.bad_words_ids is not None:
            for word in self.bad_words_ids:
                _check_ids("bad_words_ids", word)
                if not len(word):
                    raise _bad("bad_words_ids", word, "words of at least one token id")
        texts = self.stop_texts()
        if not all(isinstance(text, str) and text for text in texts):
            raise _bad("stop_strings", self.stop_strings, "texts that are not empty")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.name.endswith("_token_id") or value is None:
                continue
            several = field.name in ("eos_token_id", "forced_eos_token_id")
            if several and isinstance(value, Sequence | np.ndarray):
                _check_ids(field.name, value)
                if not len(value):
                    raise _bad(field.name, value, "at least one token id")
            else:
                _check_number(field.name, value, integer=True, scalar=True, low=0)

    def _check_contradictions(self) -> None:
        if self.max_new_tokens is not None and self.max_length is not None:
            raise InputError(
                "generation.max_new_tokens and generation.max_length: give one of them"
            )
        if self.min_new_tokens is not None and _differs(self.min_length, (0,)):
            raise InputError(
                "generation.min_new_tokens and generation.min_length: give one of them"
            )
        if self.max_new_tokens is not None or self.max_length is not None:
            self.new_tokens()  # with neither, a task may yet say how many (`rollout.length`)
        unused = {} if self.do_sample else {name: "do_sample=True" for name in _SAMPLING_ONLY}
        unused |= {} if self.num_beams > 1 else {name: "num_beams > 1" for name in _BEAMS_ONLY}
        for name, condition in unused.items():
            if _differs(getattr(self, name), (_SAMPLING_ONLY | _BEAMS_ONLY)[name]):
                raise InputError(
                    f"generation.{name} = {getattr(self, name)} has no effect without {condition}; "
                    "set that too, or leave it out"
                )
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"generation.num_return_sequences = {self.num_return_sequences} is more than "
                f"num_beams = {self.num_beams}; raise num_beams, or sample"
            )


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Lets messages about a field say where it was given: of several sections of settings, which one."""
    try:
        yield
    except InputError as error:
        place = f"{where}: generation" if where.endswith(".json") else where
        raise InputError(re.sub(r"\bgeneration(?=[.:])", lambda _: place, str(error))) from None


# The fields that take an array with one value a row.
PER_ROW = tuple(
    field.name
    for field in dataclasses.fields(GenerationSettings)
    if str(field.type).startswith("PerRow")
)


def _known_fields(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
    supported = {field.name for field in dataclasses.fields(GenerationSettings)}
    given = {}
    for name, value in mapping.items():
        if name in supported:
            if value is not None:
                given[name] = value
        elif name in _UNSUPPORTED:
            if value is not None and value != _UNSUPPORTED[name]:
                hint = _ELSEWHERE.get(name, "remove it")
                raise InputError(f"{where}: {name} = {value!r} is not supported; {hint}")
        elif name not in _METADATA:
            close = difflib.get_close_matches(name, supported, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; remove it"
            raise InputError(f"{where}: unknown generation setting {name!r}{hint}")
    return given


def _differs(value: PerRow, neutral: tuple[Any, ...]) -> bool:
    return isinstance(value, str) or not np.all(np.isin(np.asarray(value), neutral))


def _bad(name: str, value: Any, expected: str) -> InputError:
    return InputError(f"generation.{name} = {value!r}: expected {expected}")


def _check_ids(name: str, ids: Any) -> None:
    if isinstance(ids, str) or not isinstance(ids, Sequence | np.ndarray):
        raise _bad(name, ids, "a list of token ids")
    for token in ids:
        _check_number(name, token, integer=True, scalar=True, low=0)


def _check_number(
    name: str,
    value: Any,
    *,
    integer: bool = False,
    scalar: bool = False,
    low: float = -math.inf,
    above: float = -math.inf,
    high: float = math.inf,
) -> None:
    kind = "an integer" if integer else "a finite number"
    bounds = [f">= {low:g}"] if low > -math.inf else []
    bounds += [f"> {above:g}"] if above > -math.inf else []
    bounds += [f"<= {high:g}"] if high < math.inf else []
    expected = " ".join([kind, " and ".join(bounds)]).strip()
    array = np.asarray(value)
    if array.dtype.kind not in ("iu" if integer else "iuf") or array.ndim > (0 if scalar else 1):
        raise _bad(name, value, expected)
    if not np.all(np.isfinite(array) & (array >= low) & (array > above) & (array <= high)):
        raise _bad(name, value, expected)
