"""Generation settings in the vocabulary of `transformers.GenerationConfig`: read, checked, and made ready for jit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from t5x_lite.console import log
from t5x_lite.decoding.foreign_settings import (
    ELSEWHERE,
    METADATA,
    UNSUPPORTED,
    may_act,
    meant,
    refuse_acting,
)
from t5x_lite.decoding.setting_checks import (
    WHOLE,
    bad,
    check_ids,
    check_number,
    check_token_id,
    check_whole,
)
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object

# A number, or an array [batch] with one number a row.
PerRow = Any

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

_FIRST_IDS = ("decoder_start_token_id", "forced_bos_token_id")
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "decoder_start_token_id")


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
    eos_token_id: int | Sequence[int] | None = None  # several: each of them ends a row; -1: none
    stop_strings: str | Sequence[str] | None = None  # a row ends with the token that completes one
    decoder_start_token_id: int | None = None
    # No settings: what a checkpoint's file says, and what was asked for on top of it. A temperature of the file has no
    # effect until sampling is asked for.
    _said: ClassVar[Mapping[str, Any]] = {}
    _asked: ClassVar[Mapping[str, Any]] = {}

    # The section of a config that these come from, as it was given: config.json holds that.
    given_values: ClassVar[Mapping[str, Any]] = {}

    def __repr__(self) -> str:
        told = [
            f"{field.name}={value!r}"
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not field.default
            and repr(value) != repr(field.default)
        ]
        return f"GenerationSettings({', '.join(told)})"

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
    def of_file(cls, mapping: Mapping[str, Any], where: str) -> GenerationSettings:
        """The settings that a checkpoint's file describes, read as transformers reads it.

        A field that is unknown or without effect is named in one warning and passed over; one without effect for want
        of another (a temperature without do_sample) acts once an update brings that.

        Raises:
          InputError: a field that would act and is not supported, or a bad value.
        """
        said: dict[str, Any] = {}
        idle: list[str] = []
        for name, value in mapping.items():
            if value is None or name in METADATA:
                continue
            if name in _FIELDS:
                value = _as_written(name, value)
                if name in _TOKEN_IDS and isinstance(value, int) and value < 0:
                    idle.append(name)  # transformers: the model's own
                    continue
                said[name] = value
            elif name in UNSUPPORTED:
                if may_act(name, value):
                    said[name] = value
                elif value != UNSUPPORTED[name]:
                    idle.append(name)
            else:
                idle.append(name)
        with _named(where):
            check_whole(said)
            settings, asleep = _settled(said, {}, where)
        if idle or asleep:
            _warn(f"{where}: without effect: {', '.join([*idle, *asleep])}")
        return settings

    @classmethod
    def from_file(cls, path: str | pathlib.Path) -> GenerationSettings:
        """Settings from a model's `generation_config.json`.

        Raises:
          InputError: the file is missing or is not JSON, or as `of_file`.
        """
        return cls.of_file(read_object(path, "a generation_config.json"), where=str(path))

    def updated(
        self, overrides: Mapping[str, Any], where: str = "generation"
    ) -> GenerationSettings:
        """These settings with others on top, as `model.generate(**overrides)` does over a model's own file.

        What an override makes meaningless goes back to its default: `max_length` under a new `max_new_tokens`,
        a temperature under `do_sample=False`, a length penalty under `num_beams=1`.
        """
        given = _known_fields(overrides, where)
        retired = {_RIVALS[name] for name in given if name in _RIVALS}
        if given.get("do_sample") is False:
            retired |= set(_SAMPLING_ONLY)
        if given.get("num_beams") == 1:
            retired |= set(_BEAMS_ONLY)
        with _named(where):
            check_whole(given)
            if self._said:
                asked = {n: v for n, v in self._asked.items() if n not in retired} | given
                return _settled(self._said, asked, where)[0]
            defaults = {f.name: f.default for f in dataclasses.fields(self) if f.name in retired}
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
            raise bad("do_sample", self.do_sample, "true or false")
        for name in ("num_beams", "num_return_sequences"):
            check_number(name, getattr(self, name), integer=True, scalar=True, low=1)
        for name in ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"):
            check_number(name, getattr(self, name), integer=True, scalar=True, low=0)
        for name, low in (("max_new_tokens", 1), ("max_length", 2), ("min_new_tokens", 0)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), integer=True, low=low)
        check_number("min_length", self.min_length, integer=True, low=0)
        check_number("top_k", self.top_k, integer=True, low=0)
        check_number("temperature", self.temperature, above=0)
        check_number("top_p", self.top_p, above=0, high=1)
        check_number("typical_p", self.typical_p, above=0, high=1)
        check_number("min_p", self.min_p, low=0, high=1)
        check_number("repetition_penalty", self.repetition_penalty, above=0)
        check_number("encoder_repetition_penalty", self.encoder_repetition_penalty, above=0)
        check_number("length_penalty", self.length_penalty)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise bad("early_stopping", self.early_stopping, 'true, false or "never"')
        for name in ("suppress_tokens", "begin_suppress_tokens"):
            if getattr(self, name) is not None:
                check_ids(name, getattr(self, name))
        if self.bad_words_ids is not None:
            if not isinstance(self.bad_words_ids, Sequence | np.ndarray):
                raise bad("bad_words_ids", self.bad_words_ids, "a list of lists of token ids")
            for word in self.bad_words_ids:
                check_ids("bad_words_ids", word)
                if not len(word):
                    raise bad("bad_words_ids", word, "words of at least one token id")
        if not isinstance(self.stop_strings, Sequence | None):
            raise bad("stop_strings", self.stop_strings, "a text or a list of texts")
        texts = self.stop_texts()
        if not all(isinstance(text, str) and text for text in texts):
            raise bad("stop_strings", self.stop_strings, "texts that are not empty")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.name.endswith("_token_id") or value is None:
                continue
            check_token_id(field.name, value)

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
        drawn_apart = self.do_sample and self.num_beams == 1
        if not drawn_apart and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"generation.num_return_sequences = {self.num_return_sequences} is more than "
                f"num_beams = {self.num_beams}; raise num_beams, or sample without beams (do_sample, or a"
                " temperature)"
            )


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Lets messages about a field say where it was given: of several sections of settings, which one."""
    try:
        yield
    except InputError as error:
        place = f"{where}: generation" if where.endswith(".json") else where
        raise InputError(re.sub(r"\bgeneration(?=[.:])", lambda _: place, str(error))) from None


# What a person may set.
_FIELDS = tuple(field.name for field in dataclasses.fields(GenerationSettings))
# The fields that take an array with one value a row.
PER_ROW = tuple(
    field.name
    for field in dataclasses.fields(GenerationSettings)
    if str(field.type).startswith("PerRow")
)


@functools.cache
def _warn(message: str) -> None:
    """Once: the same file is read for each run of settings."""
    log.warning("%s", message)


def _settled(
    said: Mapping[str, Any], asked: Mapping[str, Any], where: str
) -> tuple[GenerationSettings, list[str]]:
    """A checkpoint's settings with those that were asked for on top; and what of the former has no effect then.

    Raises:
      InputError: a setting of the checkpoint that acts and is not supported; what was asked for contradicts itself.
    """
    rivals = {_RIVALS[name] for name in asked if name in _RIVALS}
    merged = {name: value for name, value in said.items() if name not in rivals} | dict(asked)
    refuse_acting(merged, where)
    # As in transformers, the count of new tokens goes before the count of all.
    asleep = [n for n in ("max_length", "min_length") if n in said and _RIVALS[n] in merged]
    asleep += [] if merged.get("do_sample") else _SAMPLING_ONLY
    asleep += [] if (merged.get("num_beams") or 1) > 1 else _BEAMS_ONLY
    asleep = [name for name in asleep if name in merged and name not in asked]
    active = {n: v for n, v in merged.items() if n in _FIELDS and n not in asleep}
    # transformers warns of a shortest text beyond the longest, and generates the longest.
    longest = active.get("max_new_tokens", active.get("max_length", _NEW_TOKENS_BY_DEFAULT + 1))
    longest = np.min(longest) - (0 if "max_new_tokens" in active else 1)
    for name, start in (("min_new_tokens", 0), ("min_length", 1)):
        if name in active and name not in asked and np.max(active[name]) - start > longest:
            active[name] = int(longest) + start
            _warn(f"{where}: the checkpoint's {name} is cut to the longest text, {longest} tokens")
    untold = [n for n in asleep if n in _RIVALS or _differs(merged[n], _neutral(n))]
    settings = GenerationSettings(**active)
    object.__setattr__(settings, "_said", said)
    object.__setattr__(settings, "_asked", asked)
    return settings, untold


def _neutral(name: str) -> tuple[Any, ...]:
    return (_SAMPLING_ONLY | _BEAMS_ONLY)[name]


def _as_written(name: str, value: Any) -> Any:
    """A value as transformers takes it: 20.0 for a whole number, a negative shortest length for none, a list of one id
    for that id.
    """
    if name in _FIRST_IDS and isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if name in WHOLE and isinstance(value, float) and value.is_integer():
        value = int(value)
    if name in ("min_length", "min_new_tokens") and isinstance(value, int) and value < 0:
        return 0
    return value


def _known_fields(mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = {}
    for name, value in mapping.items():
        if name in _FIELDS:
            if value is not None:
                given[name] = _as_written(name, value)
        elif name in UNSUPPORTED:
            if value is not None and value != UNSUPPORTED[name]:
                hint = ELSEWHERE.get(name, "remove it")
                raise InputError(f"{where}: {name} = {value!r} is not supported; {hint}")
        elif name not in METADATA:
            hint = meant(name, _FIELDS)
            raise InputError(f"{where}: unknown generation setting {name!r}; {hint}")
    return given


def _differs(value: PerRow, neutral: tuple[Any, ...]) -> bool:
    return isinstance(value, str) or not np.all(np.isin(np.asarray(value), neutral))
