"""Logits, loss and every gradient against transformers' torch T5 with the same weights."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import traverse_util

from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.interop.hf import load_hf
from t5x_lite.interop.names import name_table
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5

CASES = [
    (9, 5, "left"),
    pytest.param((40, 12, "right"), marks=pytest.mark.slow),
    pytest.param((1, 1, "right"), marks=pytest.mark.slow),
    pytest.param((9, 5, "right"), marks=pytest.mark.slow),
    pytest.param((40, 12, "left"), marks=pytest.mark.slow),
]


def make_batch(encoder_length, decoder_length, side):
    rng = np.random.default_rng(encoder_length)
    encoder = rng.integers(2, 96, (3, encoder_length)).astype(np.int32)
    for row, padding in enumerate((0, encoder_length // 3, encoder_length // 2)):
        encoder[row, :padding] = 0
        if side == "right":
            encoder[row] = encoder[row, ::-1]
    targets = rng.integers(2, 96, (3, decoder_length)).astype(np.int32)
    weights = np.ones((3, decoder_length), np.float32)
    weights[1, decoder_length // 2 + 1 :] = 0
    targets[weights == 0] = 0
    return encoder, np.pad(targets, ((0, 0), (1, 0)))[:, :-1], targets, weights


def torch_outputs(model, encoder, targets, weights):
    labels = torch.tensor(np.where(weights > 0, targets, -100)).long()
    tokens = torch.tensor(encoder).long()
    model.zero_grad()
    # The decoder's inputs as ours are: the shifted targets, with 0 where HF would shift in the -100.
    output = model(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels)
    output.loss.backward()
    return output.logits.detach().numpy(), output.loss.item()


@functools.partial(jax.jit, static_argnums=0)
def our_outputs(model, params, encoder, decoder, targets, weights):
    def loss(params):
        logits = model.apply({"params": params}, encoder, decoder)
        logprobs = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        return -jnp.sum(logprobs * weights) / jnp.sum(weights), logits

    (value, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return logits, value, grads


def relative(ours, theirs):
    return np.max(np.abs(np.asarray(ours, np.float32) - theirs)) / np.max(np.abs(theirs))


@pytest.fixture(scope="module")
def loaded(oracle):
    return load_hf(oracle.directory, param_dtype="float32")


@pytest.fixture(scope="module")
def any_loaded(any_oracle):
    return load_hf(any_oracle.directory, param_dtype="float32")


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_logits_loss_and_gradients_equal_torch(any_oracle, any_loaded, case):
    oracle, (config, params) = any_oracle, any_loaded
    encoder, decoder, targets, weights = make_batch(*case)
    expected, expected_loss = torch_outputs(oracle.model, encoder, targets, weights)
    logits, loss, grads = our_outputs(
        T5(config, Execution()), params, encoder, decoder, targets, weights
    )
    assert relative(logits, expected) <= 1e-4
    assert abs(loss - expected_loss) <= 1e-5 * expected_loss

    # In float64: with a single position softmax is 1, the gradients of queries and keys are exactly 0, and in float32
    # torch's rounding alone can exceed the bound.
    exact = copy.deepcopy(oracle.model).double()
    torch_outputs(exact, encoder, targets, weights)
    torch_grads = {name: p.grad.numpy() for name, p in exact.named_parameters()}
    flat = traverse_util.flatten_dict(grads, sep="/")
    table = name_table(config)
    assert {entry.hf_name for entry in table} == set(torch_grads)
    assert {entry.path for entry in table} == set(flat)
    # Those that vanish but for rounding are measured against the largest gradient of all.
    scale = max(np.abs(grad).max() for grad in torch_grads.values())
    for entry in table:
        ours, theirs = entry.to_hf(np.asarray(flat[entry.path])), torch_grads[entry.hf_name]
        bound = 1e-4 * max(np.abs(theirs).max(), 1e-3 * scale)
        assert np.max(np.abs(ours - theirs)) <= bound, entry.path


def test_greedy_text_is_torchs(any_oracle, any_loaded):
    """24 tokens of three rows padded on the left, none looping over a token, as random weights would."""
    config, params = any_loaded
    encoder = make_batch(9, 5, "left")[0]
    tokens = torch.tensor(encoder).long()
    settings = dict(max_new_tokens=24, do_sample=False, num_beams=1, no_repeat_ngram_size=2)
    with torch.no_grad():
        # Without its cache, which transformers 5 gives as many layers as the encoder has.
        expected = any_oracle.model.generate(
            tokens,
            attention_mask=(tokens != 0).long(),
            use_cache=False,
            eos_token_id=1,
            pad_token_id=0,
            **settings,
        ).numpy()[:, 1:]
    greedy = GenerationSettings(**settings)
    ours = np.asarray(Generator(config, Execution()).generate(params, encoder, greedy).tokens)
    assert len(np.unique(ours)) > 6
    np.testing.assert_array_equal(ours[:, : expected.shape[1]], expected)


def test_the_head_and_the_scaling_are_the_familys(any_family, any_loaded):
    config, params = any_loaded
    tied = any_family in ("t5_1.0", "umt5_tied")
    assert (config.tie_word_embeddings, config.scale_decoder_outputs) == (tied, tied)
    assert ("logits_dense" in params["decoder"]) != tied


def test_bfloat16_stays_near_float32(oracle, loaded):
    """Eight bits of mantissa through five layers: measured .009 (1.0) and .017 (1.1) of the largest logit."""
    config, params = loaded
    encoder, decoder, targets, weights = make_batch(9, 5, "left")
    expected, _ = torch_outputs(oracle.model, encoder, targets, weights)
    model = T5(config, Execution(dtype="bfloat16"))
    logits = jax.jit(model.apply)({"params": params}, encoder, decoder)
    assert 1e-4 < relative(logits, expected) <= 0.03  # above: or it was not bfloat16
