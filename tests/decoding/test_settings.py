"""Settings are read with GenerationConfig's names, and refused by name."""

import dataclasses
import json
import re

import numpy as np
import pytest
import transformers

from t5x_lite.decoding import settings as settings_module
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({"temprature": 1.0}, "temprature.*did you mean temperature"),
        ({"stop_strings": [""]}, "stop_strings.*texts that are not empty"),
        ({"stop_strings": [3]}, "stop_strings.*texts that are not empty"),
        ({"encoder_repetition_penalty": 0.0}, "encoder_repetition_penalty"),
        ({"encoder_no_repeat_ngram_size": 1.5}, "encoder_no_repeat_ngram_size"),
        ({"max_time": 3.0}, "max_time = 3.0 is not supported"),
        ({"use_cache": False}, "use_cache.*not supported"),
        ({"do_sample": True, "top_p": 0.0}, "top_p = 0.0: expected a finite number > 0 and <= 1"),
        ({"do_sample": True, "top_p": 1.1}, "top_p"),
        ({"do_sample": True, "temperature": 0.0}, "temperature"),
        ({"do_sample": True, "temperature": float("nan")}, "temperature"),
        ({"do_sample": True, "temperature": "hot"}, "temperature"),
        ({"do_sample": True, "temperature": np.array([1.0, -1.0])}, "temperature"),
        ({"do_sample": True, "top_k": -1}, "top_k"),
        ({"do_sample": True, "top_k": 5.5}, "top_k"),
        ({"do_sample": "yes"}, "do_sample"),
        ({"temperature": 0.5}, "temperature = 0.5 has no effect without do_sample=True"),
        ({"length_penalty": 2.0}, "length_penalty = 2.0 has no effect without num_beams > 1"),
        ({"early_stopping": "never"}, "early_stopping = never has no effect"),
        ({"num_beams": 2, "early_stopping": "soon"}, "early_stopping"),
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences = 3 is more than"),
        (
            {"num_beams": 2, "num_return_sequences": 3, "do_sample": True},
            "num_return_sequences = 3 is more than num_beams = 2",
        ),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"max_new_tokens": 5, "min_new_tokens": 6}, "at least 6 and at most 5"),
        ({"max_new_tokens": 5, "min_length": 7}, "at least 6 and at most 5"),
        ({"max_new_tokens": 5, "max_length": 7}, "give one of them"),
        ({"min_new_tokens": 5, "min_length": 3}, "give one of them"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"bad_words_ids": [[]]}, "bad_words_ids"),
        ({"bad_words_ids": [3]}, "bad_words_ids"),
        ({"suppress_tokens": "3"}, "suppress_tokens"),
        ({"eos_token_id": [1, -2]}, "eos_token_id"),
        ({"eos_token_id": []}, "eos_token_id.*at least one"),
        ({"pad_token_id": [0]}, "pad_token_id"),
        ({"forced_eos_token_id": []}, "forced_eos_token_id.*at least one"),
        ({"forced_eos_token_id": [1, -2]}, "forced_eos_token_id"),
        ({"decoder_start_token_id": [None, []]}, "decoder_start_token_id"),
        ({"eos_token_id": [[1], []]}, "eos_token_id"),
        ({"max_new_tokens": [[1], 2]}, "max_new_tokens"),
    ],
)
def test_refused_by_name(mapping, message):
    with pytest.raises(InputError, match=message) as error:
        GenerationSettings.from_mapping(mapping)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "mapping, way_out",
    [
        ({"temperature": 0.0}, "leave it out, with do_sample=False"),
        ({"do_sample": True, "top_p": 0}, "leave it out, with do_sample=False"),
        ({"do_sample": True, "top_k": -1}, "; 0 chooses among all"),
        ({"do_sample": True, "top_p": -1}, "; 1 chooses among all"),
        ({"no_repeat_ngram_size": -1}, "; 0 is off"),
        ({"suppress_tokens": [-1]}, "leave it out to forbid none"),
        ({"max_new_tokens": -1}, "say how many there may be"),
        ({"max_tokens": 16}, "it is called max_new_tokens here"),
        ({"n": 2}, "it is called num_return_sequences here"),
        ({"stop": "\n"}, "it is called stop_strings here"),
        ({"stop_token_ids": [1]}, "it is called eos_token_id here"),
        ({"frequency_penalty": 0.5}, "it is called repetition_penalty, which is another measure"),
        ({"ignore_eos": True}, "raise min_new_tokens"),
        ({"logprobs": 5}, "generate_with_scores"),
        ({"skip_special_tokens": True}, "texts never have special tokens"),
        ({"generation_config": {}}, "give its fields as settings"),
        ({"decoder_input_ids": [[0]]}, "an answer begins with decoder_start_token_id"),
    ],
    ids=str,
)
def test_other_tools_words_are_refused_with_ours(mapping, way_out):
    with pytest.raises(InputError, match=re.escape(way_out)):
        GenerationSettings.from_mapping(mapping)


@pytest.mark.parametrize("value", ["8", True, [3.5], {}, float("inf")])
@pytest.mark.parametrize(
    "name", ["max_new_tokens", "max_length", "min_length", "num_beams", "top_k"]
)
def test_no_whole_number_over_a_file(name, value):
    """What a checkpoint's file says is united with what is asked for; the latter may be anything."""
    settings = GenerationSettings.of_file({"max_length": 9, "num_beams": 2}, "a.json")
    with pytest.raises(InputError, match=name):
        settings.updated({name: value, "do_sample": True})


def test_every_field_of_generation_config_is_supported_or_refused_by_name():
    """A newer transformers may add fields: sort each into the settings or the refused ones."""
    known = set(settings_module.UNSUPPORTED) | set(settings_module.METADATA)
    known |= set(GenerationSettings.__dataclass_fields__)
    # Assistant models and continuous batching are not settings of one generation: unknown is fine.
    ours_to_know = {
        name
        for name in vars(transformers.GenerationConfig())
        if not any(word in name for word in ("assistant", "lookbehind", "speculation", "batching"))
    }
    assert ours_to_know <= known, sorted(ours_to_know - known)


def test_a_file_and_overrides(tmp_path):
    file = tmp_path / "generation_config.json"
    transformers.GenerationConfig(
        max_length=200,
        num_beams=4,
        length_penalty=2.0,
        early_stopping=True,
        no_repeat_ngram_size=3,
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    ).save_pretrained(tmp_path)
    settings = GenerationSettings.from_file(file)
    assert (settings.num_beams, settings.early_stopping) == (4, True)
    assert settings.new_tokens()[1] == 199
    greedy = settings.updated({"max_new_tokens": 50, "num_beams": 1})
    assert greedy.new_tokens()[1] == 50 and greedy.length_penalty == 1.0
    assert greedy.no_repeat_ngram_size == 3
    with pytest.raises(InputError, match="length_penalty"):
        settings.updated({"num_beams": 1, "length_penalty": 0.5})

    file.write_text(json.dumps({"do_sample": True, "temperature": 0.5, "guidance_scale": 2.0}))
    with pytest.raises(InputError, match="generation_config.json.*guidance_scale"):
        GenerationSettings.from_file(file)
    file.write_text("{")
    with pytest.raises(InputError, match="generation_config.json"):
        GenerationSettings.from_file(file)


def test_defaults_are_transformers_defaults():
    theirs = transformers.GenerationConfig._get_default_generation_params()
    ours = GenerationSettings()
    for name, value in theirs.items():
        if hasattr(ours, name) and name != "max_length":
            assert getattr(ours, name) == value, name
        elif name in settings_module.UNSUPPORTED:
            assert settings_module.UNSUPPORTED[name] == value, name
    assert ours.new_tokens() == (0, 20)


ODD = [
    *(True, "x", "", 1.5, -1, 10**30, 1e999, float("nan"), 7),
    *([], [1], [[1]], [None], ["a"], [[]], [[None]], [[1.5]], [1, "a"], {}, {"a": 1}, {1}),
]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(GenerationSettings)])
def test_odd_values_are_taken_or_refused_by_name(name):
    """Nothing else: a TypeError would be a fault of ours."""
    refused = 0
    for value in ODD:
        for others in ({}, {"do_sample": True}, {"num_beams": 2}):
            try:
                settings = GenerationSettings().updated(others | {name: value})
                settings.new_tokens()
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 10
