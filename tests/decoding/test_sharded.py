"""Eight devices generate what one does."""

import jax
import numpy as np
import pytest

from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import param_shardings, put_batch

SAMPLING = {"do_sample": True, "top_k": 20, "top_p": 0.9}
BEAMS = {"num_beams": 4, "no_repeat_ngram_size": 2, "num_return_sequences": 2}


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, {"data": 8, "fsdp": 1, "model": 1}),
        ({}, {"data": 1, "fsdp": 4, "model": 2}),
        (SAMPLING, {"data": 2, "fsdp": 2, "model": 2}),
        pytest.param(SAMPLING, {"data": 1, "fsdp": 8, "model": 1}, marks=pytest.mark.slow),
        pytest.param(BEAMS, {"data": 2, "fsdp": 2, "model": 2}, marks=pytest.mark.slow),
        (BEAMS, {"data": 2, "fsdp": 1, "model": 4}),
    ],
    ids=lambda value: "+".join(f"{k}={v}" for k, v in value.items()) or "greedy",
)
def test_sharded_equals_one_device(gated_pair, settings, sizes):
    config, params, execution = gated_pair.config, gated_pair.params, Execution(attention="einsum")
    settings = GenerationSettings.from_mapping({"max_new_tokens": 24, **settings})
    inputs, rng = gated_pair.inputs(8, 12, seed=9), jax.random.key(2)
    alone = gated_pair.generator.generate(params, inputs, settings, rng, with_logprobs=True)
    model = T5(config, execution)
    with on_mesh(make_mesh(sizes)) as mesh:
        shardings = param_shardings(abstract_params(model), logical_axes(model), mesh)
        output = Generator(config, execution).generate(
            jax.device_put(params, shardings),
            put_batch({"encoder_input_tokens": inputs}, mesh)["encoder_input_tokens"],
            settings,
            rng,
            with_logprobs=True,
        )
    np.testing.assert_array_equal(output.tokens, alone.tokens)
    np.testing.assert_allclose(output.logprobs, alone.logprobs, atol=1e-4)
