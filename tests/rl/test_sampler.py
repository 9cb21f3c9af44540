"""Responses are drawn from the policy that is scored and trained, and where they are not, it is said at every step."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.shardings import replicated
from t5x_lite.params.partition import join
from t5x_lite.rl import preflight
from t5x_lite.rl.policy import make_resharding
from tests.rl.test_loop import share_of_four


def test_a_small_update_of_bfloat16_weights_reaches_the_rollout():
    """A delta of 2**-11 on kernels near 1, whose bfloat16 neighbours are 2**-8 and 2**-7 away."""
    kernel = jnp.array([[1.0, -0.5], [0.75, 1.5]], jnp.bfloat16)
    params = {"dense": {"kernel": kernel, "bias": jnp.ones(2, jnp.bfloat16)}}
    adapters = {
        "dense": {
            "lora_a": jnp.array([[1.0], [1.0]]),
            "lora_b": jnp.array([[2.0**-11, -(2.0**-11)]]),
            "lora_scaling": jnp.float32(1.0),
        }
    }
    everywhere = replicated(make_mesh({"data": 1, "fsdp": 1, "model": 1}, jax.devices()[:1]))
    reshard = make_resharding(jax.tree.map(lambda _: everywhere, params))
    merged = reshard({"policy": join(params, adapters)}, {})
    expected = np.asarray(kernel, np.float64) + np.array([[1, -1], [1, -1]]) * 2.0**-11
    np.testing.assert_array_equal(np.asarray(merged["dense"]["kernel"], np.float64), expected)
    assert merged["dense"]["bias"].dtype == jnp.bfloat16  # what is not adapted is as it was


@pytest.mark.slow
def test_a_gap_that_opens_after_the_first_step_is_told(ppo_run, caplog):
    run = ppo_run(share_of_four, steps=2)
    drawn = []

    def generation_params(trainable, frozen):
        drawn.append(0.0 if not drawn else 0.05)
        return jax.tree.map(lambda x: x + drawn[-1], trainable["policy"])

    run.roller = dataclasses.replace(run.roller, generation_params=generation_params)
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        _, kept = run.train()
    first, second = (line["ppo/sampler_gap"] for line in kept.metrics)
    assert first < 1e-4 and second > 1e-3
    assert "step 2: sampler and scorer differ by up to" in caplog.text
    assert "step 1: sampler" not in caplog.text


# Settings that change no draw of their own: lengths are told apart, and of a special token it is known what it is.
NO_FILTERS = {
    "max_new_tokens", "max_length", "min_new_tokens", "min_length", "do_sample", "num_beams", "length_penalty",
    "early_stopping", "num_return_sequences", "pad_token_id", "bos_token_id", "eos_token_id", "stop_strings",
    "decoder_start_token_id", "temperature",
}  # fmt: skip
ACTIVE = {
    "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9,
    "repetition_penalty": 1.2, "encoder_repetition_penalty": 1.2, "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 2, "bad_words_ids": [[4]], "suppress_tokens": [4],
    "begin_suppress_tokens": [4], "forced_bos_token_id": 4, "forced_eos_token_id": 0,
}  # fmt: skip


def found_with(**settings):
    values = np.full((1, 2), -1.0)
    given = {"do_sample": True, "top_k": 0, "max_new_tokens": 4} | settings
    return preflight.inspect(
        preflight.Compared(values, values, values, values, np.ones((1, 2))),
        preflight.Checks("fixed", "policy", False),
        dtype="float32",
        settings=GenerationSettings(**given),
        same_weights=lambda: True,
    )


@pytest.mark.parametrize("name", ACTIVE)
def test_every_filter_is_named(name):
    (remark,) = found_with(**{name: ACTIVE[name]}).remarks
    assert "drawn through a filter" in remark and name in remark


def test_a_temperature_is_the_policys(ppo_run):
    """Logits over it: of the policy, of its reference, and of what the sampler drew from; so nothing gapes, and the
    KL begins at zero."""
    run = ppo_run(share_of_four, steps=2, generation={"temperature": 0.5}, learning_rate=0.02)
    batch = {
        "encoder_input_tokens": np.array([[5, 1, 0]], np.int32),
        "decoder_input_tokens": np.array([[0, 4, 7]], np.int32),
        "decoder_target_tokens": np.array([[4, 7, 1]], np.int32),
    }
    policy, held = run.parts.policy, run.held
    logits = run.model.apply(
        {"params": run.params}, batch["encoder_input_tokens"], batch["decoder_input_tokens"]
    )
    logs = np.asarray(jax.nn.log_softmax(logits / 0.5))[0]
    expected = logs[np.arange(3), batch["decoder_target_tokens"][0]]
    forward = policy.forward(held.initial, held.frozen, batch, None)
    for found in (forward.logprobs, policy.logprobs(held.reference, batch)):
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(forward.entropies[0], -(np.exp(logs) * logs).sum(-1), atol=1e-5)
    _, kept = run.train()
    assert kept.metrics[0]["ppo/sampler_gap"] < 1e-4 and abs(kept.metrics[0]["objective/kl"]) < 1e-4


def test_no_setting_is_forgotten():
    every = {field.name for field in dataclasses.fields(GenerationSettings)}
    assert every == NO_FILTERS | set(ACTIVE)
    assert set(ACTIVE) == set(preflight.NEUTRAL) | set(preflight.LISTED)
    assert found_with().remarks == ()


def test_lengths_that_are_drawn_anew_compile_nothing_anew(ppo_run):
    """The longest of two rows is 3 to 40 tokens: rooms of 32 and of 64 otherwise, and outputs of every length."""
    run = ppo_run(share_of_four, length=40, rows=2)
    roller = dataclasses.replace(run.roller, length_range=(2, 41))
    state = run.parts.begin(run.held.initial)
    drawn = [
        roller.respond(state.trainable, run.held.frozen, run.prompts(step), step)
        for step in range(5)
    ]
    longest = [int(np.max(one.lengths)) for one in drawn]
    assert min(longest) < 20 and len(set(longest)) > 2
    assert roller.generator.compilations == 1
    assert {one.mask.shape for one in drawn} == {(2, 40)}


@pytest.mark.slow
def test_each_of_several_eos_ends_a_response(ppo_run):
    run = ppo_run(share_of_four, steps=1, length=8, generation={"eos_token_id": [1, 5]})
    _, kept = run.train()
    last = np.array([tokens[-1] for tokens in kept.records[0]["tokens"]])
    assert {1, 5} <= set(last.tolist())
    assert kept.metrics[0]["ppo/missing_eos"] == pytest.approx(1 - np.isin(last, (1, 5)).mean())


def test_the_preflight_counts_no_rows_that_fill_the_batch():
    """Two responses of 3 nats each, and six rows that are none."""
    ones, zeros = np.ones((8, 3)), np.zeros((8, 3))
    mask = (np.arange(8) < 2)[:, None] * ones
    found = preflight.inspect(
        preflight.Compared(ones, zeros, ones, ones, mask),
        preflight.Checks("parity", "base", False),
        dtype="float32",
        settings=GenerationSettings(do_sample=True, top_k=0, max_new_tokens=3),
        same_weights=lambda: False,
    )
    assert found.kl == 3.0
