"""Products of float32 numbers are asked for in float32, by every program that is lowered for a device."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from t5x_lite.models.classifier_init import abstract_module, text_examples
from t5x_lite.models.config import Execution
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import FAMILIES, EncoderConfig
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.models.value_head import ValueHead
from t5x_lite.optim.losses import LossSettings
from t5x_lite.params.lora import LoraSettings, merge
from t5x_lite.train.step import loss_sums

EXACT = "precision = [HIGHEST, HIGHEST]"
LORA = LoraSettings(((".*", 4),), alpha=8.0, dropout=0.0, rslora=False, dora=True)


def products(function, *shapes):
    """The lines of StableHLO's products, as the device's compiler gets them."""
    text = jax.jit(function).lower(*shapes).as_text()
    found = re.findall(r"stablehlo\.dot_general .*", text)
    assert found
    return found


def adapters_of(params):
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
    return jax.eval_shape(lambda: LORA.init(zeros, jax.random.key(0)))


def training_products(config, dtype, adapted):
    """Of a loss and its gradient; with adapters, by them."""
    model = T5(config, Execution(dtype=dtype))
    params = abstract_params(model)
    names = "encoder_input decoder_input decoder_target".split()
    batch = {f"{name}_tokens": jax.ShapeDtypeStruct((2, 8), jnp.int32) for name in names}
    batch["decoder_loss_weights"] = jax.ShapeDtypeStruct((2, 8), jnp.float32)
    settings = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=4)

    def loss(adapters, params, batch):
        return loss_sums(model, params, batch, None, settings, adapters)["loss"]

    if adapted:
        return products(jax.grad(loss), adapters_of(params), params, batch)
    whole = jax.grad(functools.partial(loss, None))
    return products(whole, params, batch)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("forward", ["relu", "gated-gelu"])
def test_float32_models_are_trained_by_exact_products(config, forward, adapted):
    import dataclasses

    config = dataclasses.replace(config, feed_forward_proj=forward)
    assert all(EXACT in line for line in training_products(config, "float32", adapted))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_left_to_the_device(config, dtype):
    assert not any(EXACT in line for line in training_products(config, dtype, False))


def test_of_adapters_in_half_precision_only_the_norms_are_exact(config):
    """DoRA's norms are of the kernels and adapters as they are kept, in float32."""
    lines = training_products(config, "bfloat16", True)
    exact = [line for line in lines if EXACT in line]
    assert exact and all("xf32>" in line and "bf16" not in line for line in exact)
    assert len(exact) < len(lines) / 2


def test_merging_is_exact(config):
    params = abstract_params(T5(config, Execution()))
    assert all(EXACT in line for line in products(merge, params, adapters_of(params)))


@pytest.mark.parametrize("family", FAMILIES)
def test_classifiers_and_their_heads(family):
    config = EncoderConfig(family, 40, 8, 16, 1, 2, 20, ("a", "b"))
    for dtype in ("float32", "bfloat16"):
        module = EncoderClassifier(config, dtype)
        shapes, _ = abstract_module(module, *text_examples(module))
        tokens = jax.ShapeDtypeStruct((2, 6), jnp.int32)
        lines = products(lambda p, t, m=module: m.apply({"params": p}, t), shapes, tokens)
        exact = sum(EXACT in line for line in lines)
        assert exact == (len(lines) if dtype == "float32" else 2)  # the head's are float32


def test_the_value_head():
    head = ValueHead(8, 0.0)
    hidden = jax.ShapeDtypeStruct((2, 3, 8), jnp.bfloat16)
    params = jax.eval_shape(lambda: head.init(jax.random.key(0), jnp.zeros((2, 3, 8))))
    params = {"params": {"out": jax.tree.map(lambda leaf: leaf.value, params["params"]["out"],
                                             is_leaf=lambda leaf: hasattr(leaf, "names"))}}  # fmt: skip
    assert all(EXACT in line for line in products(head.apply, params, hidden))
