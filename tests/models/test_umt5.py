"""UMT5's relative position biases: one a layer, each used by its own layer; also scanned and recomputed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.params.stacking import stack, unstack

PLAIN = Execution(attention="einsum")
TOKENS = np.array([[7, 8, 9, 10, 0], [5, 4, 3, 0, 0]], np.int32)


@pytest.fixture(scope="module")
def umt5(config):
    return dataclasses.replace(config, model_type="umt5")


def value_and_gradients(config, execution, params):
    weights = np.random.default_rng(1).normal(size=(*TOKENS.shape, config.vocab_size))

    def value(params):
        logits = T5(config, execution).apply({"params": params}, TOKENS, TOKENS)
        return jnp.sum(jax.nn.log_softmax(logits) * weights.astype(np.float32))

    return jax.jit(jax.value_and_grad(value))(params)


@pytest.mark.slow
def test_each_layer_learns_its_own_bias_in_every_execution(umt5, random_params, close):
    params = random_params(T5(umt5, PLAIN))
    expected = value, gradients = value_and_gradients(umt5, PLAIN, params)
    assert "relpos_bias" not in gradients["encoder"] and "relpos_bias" not in gradients["decoder"]
    learnt = [
        gradients[stack_name][f"layers_{layer}"]["relpos_bias"]["rel_embedding"]
        for stack_name in ("encoder", "decoder")
        for layer in range(2)
    ]
    assert all(np.abs(gradient).max() > 1e-3 for gradient in learnt)
    for changes in ({"remat": "dots"}, {"scan_layers": True, "remat": "full"}):
        execution = dataclasses.replace(PLAIN, **changes)
        if execution.scan_layers:
            value, gradients = value_and_gradients(umt5, execution, stack(params))
            close((value, unstack(gradients)), expected, 2e-5)
        else:
            close(value_and_gradients(umt5, execution, params), expected, 2e-5)


def test_equal_biases_are_one_shared_bias(config, umt5, random_params, close):
    """The one in which UMT5 differs: with the same bias in all layers of a stack it is a T5."""
    params = random_params(T5(config, PLAIN))
    copied = {name: dict(params[name]) for name in params}
    for name in ("encoder", "decoder"):
        bias = copied[name].pop("relpos_bias")
        for layer in range(2):
            copied[name][f"layers_{layer}"] = params[name][f"layers_{layer}"] | {
                "relpos_bias": bias
            }
    (shared, _), (own, _) = (
        value_and_gradients(c, PLAIN, p) for c, p in ((config, params), (umt5, copied))
    )
    close(own, shared, 1e-6)
