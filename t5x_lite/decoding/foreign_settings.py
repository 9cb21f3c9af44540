"""GenerationConfig's fields that are no settings here: which say nothing, which would act, and when.

A config section or a call is refused what is not supported. A checkpoint's file, which someone else wrote, is read as
transformers reads it: what has no effect is named and passed over, what would act is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from t5x_lite.errors import InputError

# Written by transformers beside the settings; they say nothing about decoding.
METADATA = ("transformers_version", "_from_model_config", "_commit_hash")

# Fields that are not supported, with the value at which each has no effect (a file may spell those out).
UNSUPPORTED: dict[str, Any] = {
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
ELSEWHERE = {
    "return_dict_in_generate": _SCORES,
    "output_scores": _SCORES,
    "output_logits": "Pretrained.logits gives them for the generated tokens",
}

# What OpenAI's interface, vLLM, TGI and older versions call a setting, and what else is given to a call.
_ELSEWHERE_CALLED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_target_length": "max_new_tokens",
    "val_max_target_length": "max_new_tokens",
    "generation_max_length": "max_length",
    "min_tokens": "min_new_tokens",
    "n": "num_return_sequences",
    "best_of": "num_return_sequences",
    "beam_width": "num_beams",
    "beam_size": "num_beams",
    "generation_num_beams": "num_beams",
    "use_beam_search": "num_beams",
    "stop": "stop_strings",
    "stop_sequences": "stop_strings",
    "stop_words": "stop_strings",
    "stopping_criteria": "stop_strings",
    "stop_token_ids": "eos_token_id",
    "bad_words": "bad_words_ids",
    "logit_bias": "suppress_tokens, to forbid tokens",
    "frequency_penalty": "repetition_penalty, which is another measure",
    "presence_penalty": "repetition_penalty, which is another measure",
    "typical": "typical_p",
}
_NO_SETTINGS = {
    "ignore_eos": "raise min_new_tokens to the most that there shall be",
    "skip_special_tokens": "texts never have special tokens: remove it, or take tokens by generate_tokens",
    "clean_up_tokenization_spaces": "texts are what the tokens spell: remove it",
    "logprobs": _SCORES,
    "top_logprobs": _SCORES,
    "prompt_logprobs": _SCORES,
    "stream": "Pretrained.stream gives a text in pieces",
    "streamer": "Pretrained.stream gives a text in pieces",
    "generation_config": "give its fields as settings, **config.to_diff_dict()",
    "input_ids": "token ids go to Pretrained.generate_tokens as its first argument",
    "inputs": "token ids go to Pretrained.generate_tokens as its first argument",
    "attention_mask": "the pads of the token ids are the mask: remove it",
    "messages": "there is no chat: give the conversation as one text",
    "decoder_input_ids": "an answer begins with decoder_start_token_id, and forced_bos_token_id if set",
}

_Settings = Mapping[str, Any]


def meant(name: str, settings: Sequence[str]) -> str:
    """What to do about a setting that is unknown: what it is called here, or the nearest of `settings`."""
    if name in _NO_SETTINGS:
        return _NO_SETTINGS[name]
    if name in _ELSEWHERE_CALLED:
        return f"it is called {_ELSEWHERE_CALLED[name]} here"
    close = difflib.get_close_matches(name, settings, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


def _samples(settings: _Settings) -> bool:
    return settings.get("do_sample") is True


def _has_beams(settings: _Settings) -> bool:
    return (settings.get("num_beams") or 1) > 1


def _is_contrastive(settings: _Settings) -> bool:
    top_k = settings.get("top_k")
    return bool(settings.get("penalty_alpha")) and (
        not _samples(settings) and not _has_beams(settings) and (50 if top_k is None else top_k) > 1
    )


def _always(settings: _Settings) -> bool:
    return True


# Of the unsupported fields those that change what is generated, and with which other settings they do.
_ACTING: dict[str, Callable[[_Settings], bool]] = {
    "top_h": _samples,
    "epsilon_cutoff": _samples,
    "eta_cutoff": _samples,
    "num_beam_groups": _has_beams,
    "constraints": _always,
    "force_words_ids": _always,
    "penalty_alpha": _is_contrastive,
    "dola_layers": _always,
    # Greedy choice and sampling see differences of scores alone.
    "renormalize_logits": _has_beams,
    "exponential_decay_length_penalty": _always,
    "sequence_bias": _always,
    "token_healing": _always,
    "guidance_scale": _always,
    "watermarking_config": _always,
}


def may_act(name: str, value: Any) -> bool:
    """Whether an unsupported field with this value could change what is generated."""
    off = UNSUPPORTED[name]
    return (
        name in _ACTING
        and value not in (None, off)
        and not (name == "guidance_scale" and value == 1)
    )


def refuse_acting(settings: _Settings, where: str) -> None:
    """Refuses the unsupported fields among a checkpoint's settings that act together with the others.

    Raises:
      InputError: the field, and what to do.
    """
    for name, acts in _ACTING.items():
        value = settings.get(name)
        if name in settings and may_act(name, value) and acts(settings):
            raise InputError(
                f"{where}: {name} = {value!r} would change what is generated, and is not supported; remove it from"
                " the checkpoint's generation settings to decode without it"
            )
