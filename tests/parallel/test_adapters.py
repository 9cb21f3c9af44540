"""Adapters on eight devices against one, scanned against unrolled: the loss and every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import param_shardings, put_batch
from t5x_lite.params.adapters import stack_adapters, unstack_adapters
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.paths import flatten, map_with_path
from t5x_lite.params.stacking import stack
from t5x_lite.train.step import loss_sums

DORA = LoraSettings(
    ((".*/(query|out|wi_0|wo|logits_dense)", 3),), alpha=6.0, dropout=0.0, rslora=False, dora=True
)
PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=3)
LAYERS = {"encoder": 2, "decoder": 2}


def batch_of(config):
    rng = np.random.default_rng(0)
    encoder = rng.integers(2, config.vocab_size, (8, 7)).astype(np.int32)
    encoder[3, 4:] = 0
    targets = rng.integers(2, config.vocab_size, (8, 6)).astype(np.int32)
    return {
        "encoder_input_tokens": encoder,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones(targets.shape, np.float32),
    }


@pytest.fixture(scope="module")
def adapters(config, random_params):
    fresh = DORA.init(random_params(config), jax.random.key(0))
    rng = np.random.default_rng(1)
    return map_with_path(
        lambda path, x: np.asarray(x + 0.1 * rng.normal(size=x.shape) * (x.ndim > 0), np.float32),
        fresh,
    )


def loss_and_gradients(model, params, adapters, batch):
    @jax.jit
    def run(params, adapters, batch):
        return jax.value_and_grad(
            lambda adapters: loss_sums(model, params, batch, None, PLAIN, adapters)["loss"]
        )(adapters)

    return run(params, adapters, batch)


@pytest.fixture(scope="module")
def expected(config, random_params, adapters):
    model = T5(config, Execution(attention="einsum"))
    return loss_and_gradients(model, random_params(config), adapters, batch_of(config))


def compare(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    gradients = flatten(unstack_adapters(found[1]))
    assert gradients.keys() == flatten(expected[1]).keys()
    for path, value in flatten(expected[1]).items():
        if path.endswith("lora_scaling"):
            continue  # never trained; a sum of terms that cancel
        difference = np.abs(np.asarray(gradients[path]) - np.asarray(value)).max()
        assert difference <= 1e-4 * np.abs(value).max() + 1e-6, path


@pytest.mark.slow
def test_scanned_equals_unrolled(config, random_params, adapters, expected):
    model = T5(config, Execution(attention="einsum", scan_layers=True, remat="full"))
    stacked = stack_adapters(jax.tree.map(jnp.asarray, adapters), LAYERS)
    compare(
        loss_and_gradients(model, stack(random_params(config)), stacked, batch_of(config)), expected
    )


def test_sharded_equals_one_device(config, random_params, adapters, expected):
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    model = T5(config, Execution(attention="einsum"))
    abstract, axes = abstract_params(model), logical_axes(model)
    of_adapters = param_shardings(adapters, DORA.axes(abstract, axes), mesh)
    with on_mesh(mesh):
        params = jax.device_put(random_params(config), param_shardings(abstract, axes, mesh))
        placed = jax.device_put(adapters, of_adapters)
        found = loss_and_gradients(model, params, placed, put_batch(batch_of(config), mesh))
        # An adapter lies as its kernel does: inputs over fsdp, heads over model; the rank is whole.
        query = placed["encoder"]["layers_0"]["attention"]["query"]
        assert query["lora_a"].addressable_shards[0].data.shape == (16, 3)
        assert query["lora_b"].addressable_shards[0].data.shape == (3, 4, 4)
        assert query["lora_magnitude"].addressable_shards[0].data.shape == (4, 4)
        compare(jax.device_get(found), expected)
