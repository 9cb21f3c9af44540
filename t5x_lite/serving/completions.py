"""The body of a request for completions: OpenAI's fields, and this project's generation settings beside them."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from typing import Any

from t5x_lite.decoding.foreign_settings import METADATA, UNSUPPORTED, meant
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.serving.slots import ALTERNATIVES
from t5x_lite.serving.trouble import Refused

# OpenAI's limits.
_MOST_STOPS = 4
# All stop strings together: they become a table with a row a letter.
_MOST_STOP_BYTES = 128
_MOST_PROMPTS = 256

# Fields of OpenAI's that mean nothing here, with the values at which they ask for nothing; and what to do else.
_WITHOUT: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "echo": ((False,), "the prompt is the encoder's, and no part of the output"),
    "suffix": (("",), "this model does not fill in"),
    "frequency_penalty": ((0,), "use repetition_penalty"),
    "presence_penalty": ((0,), "use repetition_penalty"),
    "logit_bias": (({},), "use suppress_tokens or bad_words_ids"),
    "response_format": (({"type": "text"},), "the output is plain text"),
    # Of vLLM's.
    "ignore_eos": ((False,), "raise min_new_tokens to max_tokens"),
    "skip_special_tokens": ((True,), "texts never have special tokens"),
    "include_stop_str_in_output": ((False,), "a text ends before its stop string"),
    "use_beam_search": ((False,), "use num_beams"),
}
IGNORED = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
_OWN = (
    *("model", "prompt", "n", "best_of", "max_tokens", "stop", "seed", "stream"),
    *("stream_options", "logprobs", "return_token_ids"),
)
_SAMPLES = ("temperature", "top_p", "top_k", "min_p", "typical_p")


@dataclasses.dataclass(frozen=True)
class Completion:
    """What is asked for. prompts: texts, or token ids. settings: of GenerationConfig. logprobs: alternatives a token,
    None for no log-probabilities. stop: texts at which an output ends, and which it does not show.
    """

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    settings: Mapping[str, Any]
    seed: int
    stop: tuple[str, ...]
    stream: bool
    with_usage: bool
    logprobs: int | None
    with_token_ids: bool


def read_json(body: bytes) -> Any:
    """A request's body.

    Raises:
      Refused: it is no JSON object.
    """
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(400, "the body has halves of surrogate pairs, which are no text") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def read_completion(body: Mapping[str, Any]) -> Completion:
    """Reads a request; whether its settings make sense is for `GenerationSettings` to say.

    Raises:
      Refused: a field that is missing, of another type, or not to be had here.
    """
    given = {name: value for name, value in body.items() if value is not None}
    for name, (idle, hint) in _WITHOUT.items():
        if given.pop(name, idle[0]) not in idle:
            raise Refused(400, f"{name} is not supported: {hint}", param=name)
    settings = {k: v for k, v in given.items() if k not in (*_OWN, *IGNORED)}
    _refuse_unknown(settings)
    for name, value in settings.items():
        if isinstance(value, dict) or (name in _SAMPLES and isinstance(value, list)):
            raise wrong(name, value, "a number, one for all prompts")
    stop = _stop(given)
    if stop and "stop_strings" in settings:
        raise Refused(400, "stop and stop_strings: give one of them", param="stop")
    if stop:
        settings["stop_strings"] = list(stop)
    _set_lengths(given, settings)
    _set_sampling(given, settings)
    options = _of(given, "stream_options", dict, {}, "an object")
    logprobs = given.get("logprobs")
    if isinstance(logprobs, bool):
        logprobs = 1 if logprobs else None
    if logprobs is not None and not (isinstance(logprobs, int) and 0 <= logprobs <= ALTERNATIVES):
        raise wrong("logprobs", logprobs, f"a whole number from 0 to {ALTERNATIVES}")
    return Completion(
        model=model_of(given),
        prompts=_prompts(given),
        settings=settings,
        seed=_seed(given),
        stop=stop,
        stream=_of(given, "stream", bool, False, "true or false"),
        with_usage=bool(options.get("include_usage")),
        logprobs=logprobs,
        with_token_ids=_of(given, "return_token_ids", bool, False, "true or false"),
    )


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Refuses what is no field, with what it is called here, or the field that it nearly is."""
    known = [field.name for field in dataclasses.fields(GenerationSettings)]
    for name in settings:
        if name not in (*known, *UNSUPPORTED, *METADATA):
            hint = meant(name, [*_OWN, *known])
            raise Refused(400, f"unknown field {name!r}; {hint}", param=name)


def model_of(given: Mapping[str, Any]) -> str:
    """The name of the model that is asked.

    Raises:
      Refused: there is none.
    """
    model = given.get("model")
    if not isinstance(model, str):
        raise wrong("model", model, "the name of a model, see /v1/models")
    return model


def _prompts(given: Mapping[str, Any]) -> tuple[str | tuple[int, ...], ...]:
    prompt = given.get("prompt")
    several = prompt if isinstance(prompt, list) else [prompt]
    if prompt and several is prompt and all(_is_whole(token) for token in several):
        several = [several]
    if not several or len(several) > _MOST_PROMPTS:
        raise wrong("prompt", prompt, f"a text, or a list of 1 to {_MOST_PROMPTS}")
    return tuple(_prompt(one) for one in several)


def _prompt(one: Any) -> str | tuple[int, ...]:
    if isinstance(one, str) and one:
        return one
    if isinstance(one, list) and one and all(_is_whole(token) for token in one):
        return tuple(one)
    raise wrong("prompt", one, "a text that is not empty, a list of token ids, or a list of such")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _stop(given: Mapping[str, Any]) -> tuple[str, ...]:
    stop = given.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
        raise wrong("stop", stop, "a text, or a list of texts that are not empty")
    size = sum(len(text.encode(errors="replace")) for text in stops)
    if len(stops) > _MOST_STOPS or size > _MOST_STOP_BYTES:
        most = f"up to {_MOST_STOPS} texts of together {_MOST_STOP_BYTES} bytes"
        raise wrong("stop", stop, most)
    return tuple(stops)


def _set_lengths(given: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """OpenAI's names of max_new_tokens and num_return_sequences."""
    for theirs, ours in (("max_tokens", "max_new_tokens"), ("n", "num_return_sequences")):
        if theirs in given and ours in settings:
            raise Refused(400, f"{theirs} and {ours}: give one of them", param=theirs)
        if theirs in given:
            if not _is_whole(given[theirs]) or given[theirs] < 1:
                raise wrong(theirs, given[theirs], "a whole number from 1")
            settings[ours] = given[theirs]
    count = settings.get("num_return_sequences", 1)
    if given.get("best_of", count) != count:
        raise Refused(400, "best_of is not supported: use num_beams", param="best_of")


def _set_sampling(given: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """As with OpenAI, a temperature above 0 draws, and 0 does not. Without one the model's own settings decide."""
    temperature = settings.get("temperature")
    if isinstance(temperature, int | float) and temperature < 0:
        raise wrong("temperature", temperature, "a number >= 0 (0: the likeliest token)")
    if "do_sample" in settings:
        return
    if temperature == 0 and not isinstance(temperature, bool):
        del settings["temperature"]
        settings["do_sample"] = False
        for name in _SAMPLES:
            settings.pop(name, None)
    elif any(name in settings for name in _SAMPLES):
        settings["do_sample"] = True


def _seed(given: Mapping[str, Any]) -> int:
    seed = given.get("seed")
    if seed is None:
        return secrets.randbelow(2**31)
    if not _is_whole(seed) or not 0 <= seed < 2**31:
        raise wrong("seed", seed, "a whole number from 0 to 2**31 - 1")
    return seed


def _of(given: Mapping[str, Any], name: str, kind: type, default: Any, words: str) -> Any:
    value = given.get(name, default)
    if not isinstance(value, kind):
        raise wrong(name, value, words)
    return value


def wrong(name: str, value: Any, expected: str) -> Refused:
    """A field that is not what it must be."""
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    return Refused(400, f"{name} must be {expected}, got {shown}", param=name)
