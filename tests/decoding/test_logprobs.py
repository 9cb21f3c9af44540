"""Log-probabilities of generated tokens: the model's own, and those of what was drawn from."""

import jax
import numpy as np
import pytest

from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.t5 import T5

PROCESSED = {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 6}


def teacher_forced(pair, inputs, output):
    """log p of every generated token from one uncached pass over the whole sequences."""
    tokens = np.asarray(output.tokens)
    rows = len(tokens) // len(inputs)
    decoder_inputs = np.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    model = T5(pair.config, pair.generator._model.execution)
    logits = model.apply({"params": pair.params}, np.repeat(inputs, rows, axis=0), decoder_inputs)
    logprobs = jax.nn.log_softmax(logits)
    chosen = np.take_along_axis(np.asarray(logprobs), tokens[:, :, None], axis=2)[:, :, 0]
    inside = np.arange(tokens.shape[1])[None] < np.asarray(output.lengths)[:, None]
    return np.where(inside, chosen, 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 0.6, "top_k": 9, "num_return_sequences": 2, **PROCESSED},
        {"num_beams": 3, "num_return_sequences": 2, **PROCESSED},
    ],
    ids=["sampling", "beams"],
)
def test_the_models_own_are_those_of_a_teacher_forced_pass(pair, settings):
    inputs = pair.inputs(4, 12, seed=1)
    output = pair.generator.generate_with_logprobs(
        pair.params,
        inputs,
        GenerationSettings.from_mapping({"max_new_tokens": 20, **settings}),
        jax.random.key(4),
    )
    np.testing.assert_allclose(output.logprobs, teacher_forced(pair, inputs, output), atol=2e-4)
    if "do_sample" in settings:
        assert np.abs(np.asarray(output.logprobs) - output.processed_logprobs).max() > 0.1


def test_processed_ones_are_transformers_transition_scores(gated_pair):
    pair, inputs = gated_pair, gated_pair.inputs(8, 12, seed=2)
    settings = GenerationSettings.from_mapping({"max_new_tokens": 20, **PROCESSED})
    ours = pair.generator.generate_with_logprobs(pair.params, inputs, settings)
    theirs = pair.torch_generate(inputs, max_new_tokens=20, do_sample=False, **PROCESSED)
    np.testing.assert_array_equal(
        ours.tokens[:, : theirs.sequences.shape[1] - 1], theirs.sequences[:, 1:]
    )
    expected = pair.torch_model.compute_transition_scores(
        theirs.sequences, theirs.scores, normalize_logits=True
    ).numpy()
    for row, length in enumerate(np.asarray(ours.lengths)):
        np.testing.assert_allclose(
            ours.processed_logprobs[row, :length], expected[row, :length], atol=1e-4
        )
        assert not np.any(ours.processed_logprobs[row, length:])


def test_without_processors_both_are_the_same(gated_pair):
    inputs, settings = gated_pair.inputs(4, 12), GenerationSettings(do_sample=True, top_k=0)
    output = gated_pair.generator.generate_with_logprobs(
        gated_pair.params, inputs, settings, jax.random.key(0)
    )
    np.testing.assert_allclose(output.logprobs, output.processed_logprobs, atol=1e-6)


def test_what_beams_add_up_is_their_score(gated_pair):
    settings = GenerationSettings.from_mapping(
        {"max_new_tokens": 20, "num_beams": 4, "length_penalty": 0.7, **PROCESSED}
    )
    output = gated_pair.generator.generate_with_logprobs(
        gated_pair.params, gated_pair.inputs(8, 12, seed=3), settings
    )
    total = np.sum(output.processed_logprobs, axis=1) / np.asarray(output.lengths) ** 0.7
    np.testing.assert_allclose(total, output.scores, rtol=1e-5)
