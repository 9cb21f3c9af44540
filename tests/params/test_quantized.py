"""Weights in integers, against numpy's rounding by hand and the floats that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.api import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.peft import save_adapter
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.integers import Quantized, is_quantized
from t5x_lite.params.lora import LoraSettings, merge
from t5x_lite.params.paths import flatten
from t5x_lite.params.quantized import (
    bytes_of,
    float_params,
    quantize,
    quantize_leaf,
    quantize_params,
)


def by_hand(weight: np.ndarray, groups: int, inputs: int, largest: int) -> np.ndarray:
    """Channel by channel, group by group, in a slow loop."""
    flat = weight.reshape(-1, int(np.prod(weight.shape[inputs:])))
    result = np.zeros_like(flat)
    rows = len(flat) // groups
    for column in range(flat.shape[1]):
        for start in range(0, len(flat), rows):
            part = flat[start : start + rows, column]
            scale = np.abs(part).max() / largest or 1.0
            result[start : start + rows, column] = np.rint(part / np.float32(scale)) * scale
    return result.reshape(weight.shape)


@pytest.mark.parametrize(
    ("shape", "inputs", "bits", "group", "groups"),
    [
        ((24, 3, 4), 1, "int8", 0, 1),
        ((3, 4, 24), 2, "int8", 0, 1),
        ((24, 10), 1, "int4", 8, 3),
        ((6, 4, 5), 2, "int4", 8, 3),  # two heads of four inputs a group
        ((20, 10), 1, "int4", 8, 1),  # 8 does not divide 20
    ],
)
def test_it_is_rounding_to_the_nearest(shape, inputs, bits, group, groups):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weight[..., 0] = 0.0
    found = quantize(jnp.asarray(weight), inputs, bits, group)
    expected = by_hand(weight, groups, inputs, {"int8": 127, "int4": 7}[bits])
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)
    assert found.values.dtype == bits and found.shape == shape == found.values.shape
    assert found.scale.shape[0] == groups


def test_a_table_has_a_scale_a_row_and_gives_its_rows():
    table = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    found = quantize_leaf("token_embedder/embedding", jnp.asarray(table), "int8")
    assert found.scale.shape == (7, 1)
    ids = jnp.asarray([[3, 0], [6, 3]])
    np.testing.assert_array_equal(found.rows(ids), np.asarray(found)[np.asarray(ids)])
    np.testing.assert_array_equal(np.asarray(found.T), np.asarray(found).T)


def test_norms_and_position_tables_stay():
    leaves = {
        "encoder/layers_0/norm/scale": jnp.ones(4),
        "encoder/relpos_bias/rel_embedding": jnp.ones((32, 4)),
    }
    assert not any(is_quantized(quantize_leaf(path, leaf, "int4")) for path, leaf in leaves.items())


CONFIG = T5Config(
    vocab_size=96,
    d_model=64,
    d_kv=16,
    d_ff=128,
    num_encoder_layers=1,
    num_decoder_layers=1,
    num_heads=4,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    save_hf(folder, CONFIG, init_params(T5(CONFIG, Execution()), jax.random.key(0)))
    return str(folder)


@pytest.fixture(scope="module")
def plain(base):
    return load_pretrained(base)


TOKENS = np.random.default_rng(2).integers(2, 96, (2, 12), np.int32)


def logits(model):
    targets = np.asarray([[0, 5, 6, 7, 8], [0, 9, 10, 11, 12]])
    batch = {"encoder_input_tokens": TOKENS, "decoder_input_tokens": targets}
    return np.asarray(model.logits(batch))


@pytest.mark.parametrize(("bits", "share"), [("int8", 0.27), ("int4", 0.16)])
def test_a_model_computes_what_its_integers_stand_for(base, plain, bits, share, tmp_path):
    """And is written as that; nothing of what torch reads is an integer."""
    model = load_pretrained(base, quantization=bits)
    kinds = {path: is_quantized(leaf) for path, leaf in flatten(model.params).items()}
    assert all(
        kinds[path] == path.endswith(("kernel", "token_embedder/embedding")) for path in kinds
    )
    assert bytes_of(model.params) < share * bytes_of(plain.params)
    model.save_pretrained(tmp_path)
    floats = load_pretrained(tmp_path)
    np.testing.assert_allclose(logits(model), logits(floats), atol=1e-4)
    tokens = [x.generate_tokens(TOKENS, max_new_tokens=8) for x in (model, floats)]
    np.testing.assert_array_equal(*tokens)
    apart = np.abs(logits(model) - logits(plain)).max() / np.abs(logits(plain)).max()
    assert 0 < apart < {"int8": 0.03, "int4": 0.4}[bits]


def test_an_adapter_acts_on_integers_and_fits_its_base_either_way(base, plain, tmp_path):
    settings = LoraSettings(((".*/(query|value)", 4),), 8.0, 0.0, False, True)
    tree = settings.init(plain.params, jax.random.key(0))
    grown = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.02 if path[-1].key == "lora_b" else x, tree
    )
    integers = load_pretrained(base, quantization="int8")
    for name, model in {"of floats": plain, "of integers": integers}.items():
        save_adapter(tmp_path / name, plain.config, model.params, Adapter(settings, grown), base)
    for name in ("of floats", "of integers"):
        integers.load_adapter(tmp_path / name)
        plain.load_adapter(tmp_path / name, "x")
    acting = logits(integers)
    merged = merge(integers.params, grown)
    assert np.abs(acting - logits(plain)).max() < 0.05 * np.abs(acting).max()
    integers.merge_adapter()
    np.testing.assert_allclose(logits(integers), acting, atol=1e-3)
    kernels = flatten(merged)
    assert kernels["encoder/layers_0/attention/query/kernel"].dtype == jnp.float32
    assert isinstance(kernels["encoder/layers_0/attention/key/kernel"], Quantized)
    plain.set_adapter(None)


def test_shapes_alone_are_quantized_without_computing(plain):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), plain.params)
    found, made = quantize_params(shapes, "int4"), quantize_params(plain.params, "int4")
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
        lambda x: (x.shape, x.dtype), made
    )
    np.testing.assert_array_equal(
        flatten(float_params(made))["token_embedder/embedding"],
        np.asarray(flatten(made)["token_embedder/embedding"]),
    )


def test_another_word_is_refused(base):
    with pytest.raises(
        InputError, match=r"quantization must be 'none', 'int8' or 'int4', got 'int3'"
    ):
        load_pretrained(base, quantization="int3")
