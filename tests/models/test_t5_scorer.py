"""The reward model of prompt and response: its score against torch's T5 with the same weights, and its directory."""

import jax
import numpy as np
import pytest
import torch
import transformers

from t5x_lite.interop.classifiers import open_classifier, save_classifier
from t5x_lite.interop.hf import open_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.models.classifier_init import abstract_module, init_module, text_examples
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.train.classifier_step import PREFERENCE, Judgement, judgement_sums

EOS = 1
LENGTHS = (5, 1, 80, 9)  # the second is an eos alone, the third takes two chunks


def rows(rng, lengths, width, side="right"):
    batch = np.zeros((len(lengths), width), np.int32)
    for line, n in zip(batch, lengths, strict=True):
        tokens = [*rng.integers(3, 2000, n - 1), EOS]
        line[slice(0, n) if side == "right" else slice(width - n, width)] = tokens
    return batch


def by_torch(prompts, responses, head, bias, weight):
    """One row at a time, without padding, from transformers' last hidden states and logits."""
    model = transformers.T5ForConditionalGeneration.from_pretrained(model_directory("nano")).eval()
    found = []
    for prompt, response in zip(prompts, responses, strict=True):
        labels = torch.tensor(response[response != 0]).long()[None]
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor(prompt[prompt != 0]).long()[None], labels=labels,
                output_hidden_states=True,
            )  # fmt: skip
        logs = torch.log_softmax(out.logits, dim=-1).gather(2, labels[..., None]).sum()
        state = out.decoder_hidden_states[-1][0, -1].numpy()
        found.append(state @ head + bias + weight * float(logs))
    return np.array(found)


@pytest.mark.parametrize("likelihood", [0.0, 0.25])
@pytest.mark.parametrize("side", ["right", "left"])
def test_scores_equal_torch(likelihood, side):
    opened = open_hf(model_directory("nano"))
    module = T5Scorer(opened.config, Execution(), ("score",), likelihood)
    rng = np.random.default_rng(0)
    prompts, responses = rows(rng, (12, 30, 3, 7), 30, side), rows(rng, LENGTHS, 90)
    head = rng.normal(size=128).astype(np.float32)
    params = {
        **opened.read("float32"),
        "head": {"kernel": head[:, None], "bias": np.array([0.5], np.float32)},
    }
    if likelihood:
        params["likelihood_weight"] = np.array([likelihood], np.float32)
    scores = module.apply({"params": params}, prompts, responses)
    expected = by_torch(prompts, responses, head, 0.5, likelihood)
    assert scores.shape == (4, 1) and np.ptp(expected) > 1
    np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def tiny():
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_encoder_layers=1, num_decoder_layers=1,
        num_heads=3, tie_word_embeddings=False, scale_decoder_outputs=False, dropout_rate=0.0,
    )  # fmt: skip
    module = T5Scorer(config, Execution(), ("score",), 0.5)
    params = init_module(module, jax.random.key(0), *text_examples(module))
    params["head"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 1))
    return module, params


def test_a_new_one_scores_by_its_likelihood_alone(tiny):
    module, _ = tiny
    fresh = init_module(module, jax.random.key(0), *text_examples(module))
    assert fresh["likelihood_weight"].tolist() == [0.5] and not fresh["head"]["kernel"].any()


def test_the_loss_of_a_pair_is_that_of_two_scores(tiny):
    """The prompt is encoded once for both; a row that only fills the batch counts nothing."""
    module, params = tiny
    prompts = np.array([[5, 6, 1, 0], [7, 1, 0, 0], [0, 0, 0, 0]], np.int32)
    chosen = np.array([[8, 9, 1], [3, 1, 0], [0, 0, 0]], np.int32)
    rejected = np.array([[9, 1], [4, 1], [0, 0]], np.int32)
    batch = {
        "encoder_input_tokens": prompts, "decoder_target_tokens": chosen,
        "decoder_loss_weights": (chosen != 0).astype(np.float32),
        "rejected_target_tokens": rejected,
    }  # fmt: skip
    sums = judgement_sums(module, params, batch, None, Judgement(PREFERENCE, 0.3, 0.1))
    a, b = (module.apply({"params": params}, prompts, side)[:2, 0] for side in (chosen, rejected))
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    expected = -np.log(1 / (1 + np.exp(-(a - b - 0.3)))) + 0.1 * (a + b) ** 2
    np.testing.assert_allclose(sums["loss"], expected.sum(), rtol=1e-5)
    assert sums["weight"] == 2 and sums["correct"] == (a > b).sum()


def test_it_survives_its_directory(tiny, tmp_path):
    module, params = tiny
    save_classifier(tmp_path, module, params)
    opened = open_classifier(tmp_path)
    assert opened.module == module
    jax.tree.map(np.testing.assert_array_equal, opened.read(), params)


def test_every_parameter_has_axes(tiny):
    module, _ = tiny
    abstract, axes = abstract_module(module, *text_examples(module))
    ranks = jax.tree.map(len, axes, is_leaf=lambda x: isinstance(x, tuple))
    assert jax.tree.map(lambda leaf: len(leaf.shape), abstract) == ranks
