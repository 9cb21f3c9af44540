"""CTranslate2 gives the tokens and scores that we and torch give, tied or not, scaled or not."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import torch
import transformers

from t5x_lite import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.export.ctranslate2_files import save_ctranslate2, token_names
from t5x_lite.interop.hf import save_hf
from tests.interop.conftest import load_torch, make_oracle

ctranslate2 = pytest.importorskip("ctranslate2")
MOST = 12
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def prompts_of(count: int) -> list[list[int]]:
    """Random tokens and eos."""
    rng = np.random.default_rng(0)
    return [[*rng.integers(2, 96, n).tolist(), 1] for n in rng.integers(2, 30, count)]


def padded(prompts: list[list[int]]) -> np.ndarray:
    rows = np.zeros((len(prompts), max(map(len, prompts))), np.int32)
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt)] = prompt
    return rows


def check(directory: pathlib.Path, folder: pathlib.Path, count: int) -> None:
    """Greedy and 4 beams: tokens of ours, torch's and CTranslate2's; and log-probabilities of the greedy tokens."""
    t5 = load_pretrained(directory)
    save_ctranslate2(folder, t5.config, t5.params, None)
    translator = ctranslate2.Translator(str(folder), intra_threads=1)
    names = token_names(t5.config, None)
    prompts = prompts_of(count)
    sources = [[names[id] for id in prompt] for prompt in prompts]
    batch = torch.tensor(padded(prompts))
    model = load_torch(directory)
    for beams in (1, 4):
        asked = {"num_beams": beams, "max_new_tokens": MOST}
        if beams > 1:
            asked |= {"length_penalty": 0.0, "early_stopping": True}
        found = t5._generate(padded(prompts), 0, asked, with_logprobs=True)
        with torch.no_grad():
            # Its cache does not know of stacks that differ in depth, and its files name no eos.
            own = {"use_cache": False, "eos_token_id": 1, "pad_token_id": 0}
            mask = (batch != 0).long()
            theirs = model.generate(batch, attention_mask=mask, **own, **asked).numpy()
        results = translator.translate_batch(
            sources,
            beam_size=beams,
            max_decoding_length=MOST,
            min_decoding_length=0,  # 1 unless said
            length_penalty=0,
            return_scores=True,
        )
        for row, result in enumerate(results):
            ours = found.tokens[row, : found.lengths[row]].tolist()
            assert theirs[row, 1 : 1 + len(ours)].tolist() == ours, (beams, row)
            ours = ours[:-1] if ours[-1] == 1 else ours
            assert [names.index(name) for name in result.hypotheses[0]] == ours, (beams, row)
            score = float(np.sum(found.logprobs[row]))
            assert result.scores[0] == pytest.approx(score, abs=1e-4), (beams, row)


@pytest.mark.parametrize("family", ["t5_1.0", "t5_1.1"])
def test_tokens_and_scores_are_ours_and_those_of_torch(family, tmp_path):
    check(make_oracle(family, tmp_path).directory, tmp_path / "ct2", 20)


@pytest.mark.slow  # minutes: every family, 200 prompts
@pytest.mark.parametrize("family", ["t5_1.0", "t5_1.1", "mt5", "byt5", "umt5"])
def test_two_hundred_prompts_of_every_family(family, tmp_path):
    check(make_oracle(family, tmp_path).directory, tmp_path / "ct2", 200)


def test_an_untied_model_is_not_scaled_and_a_tied_one_is(tmp_path):
    """What CTranslate2's own converter gets wrong with transformers 5."""
    scaled = {}
    for family in ("t5_1.0", "t5_1.1"):
        t5 = load_pretrained(make_oracle(family, tmp_path).directory)
        save_ctranslate2(tmp_path / "ct2", t5.config, t5.params, None)
        scaled[family] = b"decoder/scale_outputs" in (tmp_path / "ct2" / "model.bin").read_bytes()
    assert scaled == {"t5_1.0": True, "t5_1.1": False}


def test_tokens_go_by_the_names_of_the_tokenizer(tmp_path):
    t5 = load_pretrained("nano")
    save_ctranslate2(tmp_path / "ct2", t5.config, t5.params, t5.tokenizer, "int8")
    names = json.loads((tmp_path / "ct2" / "shared_vocabulary.json").read_text())
    assert len(names) == len(set(names)) == t5.config.vocab_size
    settings = json.loads((tmp_path / "ct2" / "config.json").read_text())
    assert (settings["eos_token"], settings["decoder_start_token"]) == ("</s>", "<pad>")
    text = "Summarize: Ann: Shall we go? Bob: Yes, at ten."
    tokens = t5.tokenizer.tokenizer.convert_ids_to_tokens(
        t5.tokenizer.encode([text], add_eos=True)[0]
    )
    translator = ctranslate2.Translator(str(tmp_path / "ct2"))
    (result,) = translator.translate_batch([tokens], beam_size=1, max_decoding_length=20)
    assert result.hypotheses[0] and set(result.hypotheses[0]) <= set(names)


def test_an_unknown_quantization_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="quantization: expected one of float32, .*'int3'"):
        save_ctranslate2(tmp_path, None, {}, None, "int3")


@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 believes config.json")
def test_its_own_converter_scales_what_is_not_and_the_documented_one_does_not(tmp_path):
    class Converter(ctranslate2.converters.TransformersConverter):
        def load_model(self, *args, **kwargs):
            model = super().load_model(*args, **kwargs)
            model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs", False)
            return model

    text = (REPOSITORY / "docs" / "deployment.md").read_text()
    assert (
        'model.config.tie_word_embeddings = getattr(model.config, "scale_decoder_outputs"' in text
    )
    nano = load_pretrained("nano")
    config = dataclasses.replace(
        nano.config, tie_word_embeddings=False, scale_decoder_outputs=False
    )
    head = np.asarray(nano.params["token_embedder"]["embedding"]).T * config.d_model**-0.5
    decoder = nano.params["decoder"] | {"logits_dense": {"kernel": head}}
    params = nano.params | {"decoder": decoder}
    save_hf(tmp_path / "hf", config, params, nano.tokenizer)
    save_ctranslate2(tmp_path / "ours", config, params, nano.tokenizer)
    own = ctranslate2.converters.TransformersConverter(str(tmp_path / "hf"))
    own.convert(str(tmp_path / "own"))
    Converter(str(tmp_path / "hf")).convert(str(tmp_path / "told"))
    names = token_names(config, nano.tokenizer)
    source = [[names[id] for id in nano.tokenizer.encode(["Ann: Shall we go?"], add_eos=True)[0]]]
    scores = {}
    for name in ("ours", "own", "told"):
        translator = ctranslate2.Translator(str(tmp_path / name), intra_threads=1)
        (scored,) = translator.score_batch(source, [source[0][:-1]])
        scores[name] = np.array(scored.log_probs)
    np.testing.assert_allclose(scores["told"], scores["ours"], atol=1e-4)
    assert np.abs(scores["own"] - scores["ours"]).max() > 0.1
