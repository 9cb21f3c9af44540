"""The Python surface: what a notebook calls, against transformers' torch T5."""

import numpy as np
import pytest
import torch
import transformers
from jax import random

import t5x_lite
from t5x_lite import load_pretrained
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import save_hf
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5

TEXTS = [
    "Ann: Are you coming to the market on Sunday?\nBob: Yes, at nine.",
    "Ann asks Bob whether he will come to the market.",
    "Bob will be at the station before noon.",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A model with random weights and a tokenizer of its own, saved as a run saves it."""
    folder = tmp_path_factory.mktemp("api")
    tokenizer = train_tokenizer(
        TEXTS,
        folder / "tokenizer",
        TrainedTokenizerSettings(
            vocab_size=50,
            algorithm="unigram",
            user_defined_symbols=(),
            extra_ids=4,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
    )
    config = T5Config(
        vocab_size=tokenizer.padded_size,
        d_model=16,
        d_kv=4,
        d_ff=24,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_heads=3,
        tie_word_embeddings=False,
        scale_decoder_outputs=False,
        feed_forward_proj="gated-gelu",
    )
    save_hf(
        folder / "model", config, init_params(T5(config, Execution()), random.key(3)), tokenizer
    )
    return folder / "model"


@pytest.fixture(scope="module")
def t5(directory):
    return load_pretrained(directory)


@pytest.fixture(scope="module")
def torch_t5(directory):
    torch.set_num_threads(1)
    return transformers.T5ForConditionalGeneration.from_pretrained(directory).eval()


def test_the_package_offers_it():
    assert set(t5x_lite.__all__) <= set(dir(t5x_lite)) | {"Pretrained", "load_pretrained"}
    assert t5x_lite.load_pretrained is load_pretrained
    with pytest.raises(AttributeError, match="no attribute 'load'"):
        t5x_lite.load  # noqa: B018


def test_attributes(t5):
    assert t5.config.num_decoder_layers == 2
    assert t5.params["decoder"]["logits_dense"]["kernel"].shape == (16, t5.config.vocab_size)
    assert t5.tokenizer.decode(t5.encode(TEXTS)) == TEXTS


def test_encode_pads_to_few_lengths(t5):
    tokens = t5.encode(TEXTS)
    assert tokens.dtype == np.int32 and tokens.shape == (3, 64)
    for row, text in zip(tokens, TEXTS, strict=True):
        ids = t5.tokenizer.encode([text], add_eos=True)[0]
        np.testing.assert_array_equal(row, ids + [0] * (64 - len(ids)))
    long = t5.tokenizer.encode([TEXTS[0] * 2], add_eos=True)[0]
    assert 64 < len(long) <= 128 and t5.encode([TEXTS[0] * 2]).shape == (1, 128)


def test_logits_are_those_of_torch(t5, torch_t5):
    inputs = t5.encode(TEXTS)
    decoder = np.array([[0, 5, 9, 11], [0, 3, 4, 1], [0, 49, 2, 7]], np.int32)
    ours = t5.logits({"encoder_input_tokens": inputs, "decoder_input_tokens": decoder, "other": 1})
    with torch.no_grad():
        theirs = torch_t5(
            input_ids=torch.tensor(inputs, dtype=torch.long),
            attention_mask=torch.tensor(inputs != 0, dtype=torch.long),
            decoder_input_ids=torch.tensor(decoder, dtype=torch.long),
        ).logits.numpy()
    assert ours.shape == (3, 4, t5.config.vocab_size) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_segment_ids_keep_packed_examples_apart(t5):
    """Two examples in one row give the logits that each has alone."""
    one, two = t5.encode(TEXTS[:1])[:, :10], t5.encode(TEXTS[1:2])[:, :8]
    start = np.zeros((1, 2), np.int32)
    packed = t5.logits(
        {
            "encoder_input_tokens": np.concatenate([one, two], axis=1),
            "decoder_input_tokens": np.concatenate([start, start], axis=1),
            "encoder_segment_ids": np.repeat([[1, 2]], [10, 8], axis=1),
            "decoder_segment_ids": np.repeat([[1, 2]], [2, 2], axis=1),
        }
    )
    for tokens, found in ((one, packed[:, :2]), (two, packed[:, 2:])):
        alone = t5.logits({"encoder_input_tokens": tokens, "decoder_input_tokens": start})
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


def test_generated_tokens_are_those_of_torch(t5, torch_t5):
    inputs = t5.encode(TEXTS)
    ours = t5.generate_tokens(inputs, max_new_tokens=12)
    assert isinstance(ours, np.ndarray) and ours.dtype == np.int32 and ours.shape == (3, 12)
    theirs = torch_t5.generate(
        input_ids=torch.tensor(inputs, dtype=torch.long),
        attention_mask=torch.tensor(inputs != 0, dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )[:, 1:].numpy()
    np.testing.assert_array_equal(ours[:, : theirs.shape[1]], theirs)


def test_generated_texts(t5):
    tokens = t5.generate_tokens(t5.encode(TEXTS), max_new_tokens=12)
    assert t5.generate(TEXTS, max_new_tokens=12) == t5.tokenizer.decode(tokens)
    several = dict(max_new_tokens=8, do_sample=True, num_return_sequences=2)
    sampled = t5.generate(TEXTS, seed=1, **several)
    assert len(sampled) == 6
    assert sampled == t5.generate(TEXTS, seed=1, **several)
    assert sampled != t5.generate(TEXTS, seed=2, **several)
    assert t5.generate([]) == []


def test_calls_of_other_sizes_and_settings_do_not_recompile(t5):
    """What a notebook does: other numbers of prompts, of other lengths, with other settings, all on warm programs."""
    before = t5._generator.compilations
    sampled = {"do_sample": True, "repetition_penalty": 1.2}
    for texts in (TEXTS, [TEXTS[0] * 2]):
        t5.generate(texts, max_new_tokens=12)
    t5.generate([*TEXTS, *TEXTS], max_new_tokens=12)
    t5.generate(TEXTS, max_new_tokens=12, **sampled)
    t5.generate(TEXTS, max_new_tokens=12, num_beams=2)
    compiled = t5._generator.compilations
    # (rows, tokens): (3, 64), (1, 128), (6, 64), (3, 64) sampled, (3, 64) with beams
    assert compiled <= before + 5
    five = [*TEXTS, TEXTS[1], "Bob"]
    alone = [t5.generate([text] * 3, max_new_tokens=12)[0] for text in five]
    assert t5.generate(five, max_new_tokens=12) == alone, (
        "a row gives what it gives in another batch"
    )
    tokens = t5.encode(TEXTS)[:, :40]
    limits = [3, 7, 5]
    np.testing.assert_array_equal(
        t5.generate_tokens(tokens, max_new_tokens=limits)[:, :3],
        t5.generate_tokens(np.pad(tokens, ((0, 0), (9, 0))), max_new_tokens=3),
    )
    five_limits = t5.generate_tokens(t5.encode(five), max_new_tokens=[3, 7, 5, 2, 31])
    assert five_limits.shape == (5, 31) and not five_limits[3, 2:].any()
    for changes in (
        {"temperature": 0.3, "seed": 4},
        {"top_k": 5, "top_p": 0.5, "repetition_penalty": 0.7},
        {"temperature": [0.2, 1.0, 3.0], "max_new_tokens": 32, "min_new_tokens": 4},
    ):
        t5.generate(TEXTS, **{"max_new_tokens": 20, **sampled, **changes})
    for changes in (
        {"length_penalty": -1.0, "early_stopping": True},
        {"early_stopping": "never", "min_length": 5},
    ):
        t5.generate(TEXTS, max_new_tokens=9, num_beams=2, **changes)
    assert t5._generator.compilations == compiled


def test_what_is_saved_is_loaded_again(t5, directory, tmp_path):
    t5.save_pretrained(tmp_path / "copy")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (directory / name).read_bytes()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert tokenizer(TEXTS).input_ids == t5.tokenizer.encode(TEXTS, add_eos=True)


def test_the_workdir_of_a_run_is_its_model(t5, directory):
    (directory.parent / "config.json").write_text("{}")  # a run's own, which describes no model
    assert load_pretrained(directory.parent).config == t5.config


def test_types(directory):
    half = load_pretrained(directory, dtype="bfloat16", param_dtype="bfloat16")
    assert half.params["encoder"]["encoder_norm"]["scale"].dtype == "bfloat16"
    batch = {
        name: np.ones((1, 3), np.int32) for name in ("encoder_input_tokens", "decoder_input_tokens")
    }
    assert half.logits(batch).dtype == np.float32


def test_settings_of_the_checkpoint_are_the_defaults(directory, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(directory, tmp_path / "model")
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 5}))
    t5 = load_pretrained(folder)
    assert t5.generate_tokens(t5.encode(TEXTS)).shape == (3, 5)
    assert t5.generate_tokens(t5.encode(TEXTS), max_length=5).shape == (3, 4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_beam": 2}, "unknown generation setting 'num_beam'; did you mean num_beams"),
        ({"temperature": 0.5}, "temperature = 0.5 has no effect without do_sample=True"),
        ({"suppress_tokens": [4000]}, "token 4000 is outside the vocabulary of 128"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0: expected an integer >= 1"),
        ({"max_new_tokens": [3, 4]}, "has 2 values for a batch of 3"),
    ],
)
def test_settings_that_cannot_be(t5, settings, message):
    with pytest.raises(InputError, match=message):
        t5.generate(TEXTS, **settings)


def test_calls_that_cannot_be(t5):
    with pytest.raises(
        InputError, match=r"expected a list of texts, got a single one; write \[text\]"
    ):
        t5.generate("one text")
    with pytest.raises(InputError, match=r"expected \[batch, length\], got the shape \(64,\)"):
        t5.generate_tokens(t5.encode(TEXTS)[0])
    with pytest.raises(InputError, match=r"expected \[batch, length\], got the shape \(0, 64\)"):
        t5.generate_tokens(t5.encode(TEXTS)[:0])
    with pytest.raises(InputError, match="the batch has no decoder_input_tokens; it has encoder_"):
        t5.logits({"encoder_input_tokens": t5.encode(TEXTS)})


@pytest.mark.parametrize(
    "source, message",
    [
        ("./nowhere", "no such directory"),
        ("google/flan-t5-small", "check the name and the network, or give a directory"),
        (".", "config.json: cannot read it"),
    ],
)
def test_models_that_cannot_be_loaded(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_pretrained(source)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 12, "repetition_penalty": 1.4},
        {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.7},
    ],
    ids=["greedy", "beams"],
)
def test_scores_are_those_of_torch(t5, torch_t5, settings):
    ours = t5.generate_with_scores(TEXTS, **settings)
    inputs = torch.tensor(t5.encode(TEXTS), dtype=torch.long)
    beams = settings.get("num_beams", 1) > 1
    theirs = torch_t5.generate(
        input_ids=inputs, attention_mask=(inputs != 0).long(), do_sample=False,
        return_dict_in_generate=True, output_scores=True, **settings,
    )  # fmt: skip
    transitions = torch_t5.compute_transition_scores(
        theirs.sequences, theirs.scores, theirs.beam_indices if beams else None,
        normalize_logits=not beams,
    )  # fmt: skip
    per_input = len(theirs.sequences) // len(TEXTS)
    with torch.no_grad():
        logits = torch_t5(
            input_ids=inputs.repeat_interleave(per_input, 0),
            attention_mask=(inputs != 0).long().repeat_interleave(per_input, 0),
            decoder_input_ids=theirs.sequences[:, :-1],
        ).logits
    logprobs = logits.log_softmax(-1).gather(2, theirs.sequences[:, 1:, None])[:, :, 0]
    assert [one.text for one in ours] == t5.generate(TEXTS, **settings)
    assert len(ours) == len(theirs.sequences) == per_input * len(TEXTS)
    for i, one in enumerate(ours):
        n = len(one.tokens)
        expected = theirs.sequences[i, 1:].numpy()
        np.testing.assert_array_equal(one.tokens, expected[:n])
        assert not expected[n:].any() and (1 in expected[:n]) == (one.tokens[-1] == 1)
        np.testing.assert_allclose(one.processed_logprobs, transitions[i, :n], atol=1e-4)
        np.testing.assert_allclose(one.logprobs, logprobs[i, :n], atol=1e-4)
        assert one.logprob == pytest.approx(float(logprobs[i, :n].sum()), abs=1e-3)
        assert one.score == (
            pytest.approx(float(theirs.sequences_scores[i]), abs=1e-4) if beams else None
        )


def test_choices_are_scored_as_the_logits_say(t5):
    choices = [["the market", "Ann"], [TEXTS[2]]]
    for text, own, found in zip(TEXTS, choices, t5.score(TEXTS[:2], choices), strict=False):
        assert len(found.logprobs) == len(own)
        for number, choice in enumerate(own):
            (ids,) = t5.tokenizer.encode([choice], add_eos=True)
            logits = t5.logits(
                {
                    "encoder_input_tokens": t5.encode([text]),
                    "decoder_input_tokens": [[t5.config.decoder_start_token_id, *ids[:-1]]],
                }
            )[0]
            logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            assert found.tokens[number] == len(ids)
            assert found.logprobs[number] == pytest.approx(
                float(logs[np.arange(len(ids)), ids].sum()), abs=1e-3
            )


def test_scored_samples_are_the_generated_ones(t5):
    settings = {"max_new_tokens": 8, "do_sample": True, "num_return_sequences": 2}
    scored = t5.generate_with_scores(TEXTS, seed=1, **settings)
    assert [one.text for one in scored] == t5.generate(TEXTS, seed=1, **settings)


@pytest.mark.parametrize("name", ["output_scores", "return_dict_in_generate"])
def test_the_names_of_transformers_point_to_the_scores(t5, name):
    with pytest.raises(
        InputError, match=f"{name} = True is not supported; Pretrained.generate_with_scores"
    ):
        t5.generate(TEXTS, **{name: True})
    assert t5.generate_with_scores([]) == []


def test_streamed_pieces_are_the_generated_text(t5):
    for settings in ({"max_new_tokens": 12}, {"max_new_tokens": 8, "do_sample": True}):
        pieces = list(t5.stream(TEXTS[0], seed=1, **settings))
        assert "".join(pieces) == t5.generate(TEXTS[:1], seed=1, **settings)[0]
    with pytest.raises(InputError, match="num_beams = 2: beams have no output before the end"):
        t5.stream(TEXTS[0], num_beams=2)


def test_a_stop_string_ends_a_text(t5):
    (whole,) = t5.generate(TEXTS[:1], max_new_tokens=12)
    stop = whole[len(whole) // 2 :][:2]
    (stopped,) = t5.generate(TEXTS[:1], max_new_tokens=12, stop_strings=[stop])
    assert whole.startswith(stopped) and stop in stopped
    assert stop not in stopped[: stopped.rfind(stop)] or whole == stopped
    assert "".join(t5.stream(TEXTS[0], max_new_tokens=12, stop_strings=[stop])) == stopped
