"""The parameter tree of each family, whole: a renamed, moved, retyped or reshaped parameter shows at once."""

import dataclasses
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.axes import constrain
from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params, init_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.paths import flatten

GOLDENS = pathlib.Path(__file__).parent / "goldens"
REGENERATE = "T5X_LITE_WRITE_GOLDENS=1 python -m pytest tests/models/test_param_tree.py"


def table(model):
    """{path: its dtype, axes and shape} from an abstract initialization."""
    axes = jax.tree.map(list, logical_axes(model), is_leaf=lambda x: isinstance(x, tuple))
    leaves = flatten(abstract_params(model))
    return {
        path: {
            "dtype": str(leaf.dtype),
            "axes": _at(axes, path),
            "shape": list(leaf.shape),
        }
        for path, leaf in leaves.items()
    }


def _at(tree, path):
    for key in path.split("/"):
        tree = tree[key]
    return tree


def to_json(entries):
    """One parameter a line."""
    lines = [f"  {json.dumps(path)}: {json.dumps(entries[path])}" for path in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def test_tree_is_the_golden(every_config, request):
    entries = table(T5(every_config, Execution()))
    file = GOLDENS / f"param_tree_{request.node.callspec.id}.json"
    if os.environ.get("T5X_LITE_WRITE_GOLDENS"):
        file.write_text(to_json(entries))
    assert to_json(entries) == file.read_text(), (
        "the parameter tree changed: every checkpoint, path rule and name table sees it. If that is meant, say so in"
        f" CHANGELOG.md, see that old checkpoints still load, and write the goldens anew: {REGENERATE}"
    )


def test_scanned_layers_have_a_leading_axis(family_config):
    unrolled = table(T5(family_config, Execution()))
    scanned = table(T5(family_config, Execution(scan_layers=True)))
    expected = {}
    for path, entry in unrolled.items():
        if "/layers_0/" in path:
            path = path.replace("/layers_0/", "/layers/")
            entry = entry | {"axes": ["layers", *entry["axes"]], "shape": [2, *entry["shape"]]}
        if "/layers_1/" not in path:
            expected[path] = entry
    assert scanned == expected


def test_initial_values(family_config):
    """Norms 1, everything else normal around 0 with Mesh TensorFlow's standard deviations times the factor."""
    sizes = dict(d_model=64, d_kv=16, num_heads=6, d_ff=200, relative_attention_num_buckets=96)
    config = dataclasses.replace(
        family_config,
        initializer_factor=0.5,
        relative_attention_max_distance=100,
        num_encoder_layers=1,
        num_decoder_layers=1,
        **sizes,
    )
    params = jax.jit(lambda rng: init_params(T5(config, Execution()), rng))(jax.random.key(0))
    stddevs = {
        "token_embedder/embedding": 1.0,
        "rel_embedding": 64**-0.5,
        "query/kernel": (64 * 16) ** -0.5,  # with 1/sqrt(kv) folded in
        "key/kernel": 64**-0.5,
        "value/kernel": 64**-0.5,
        "out/kernel": (6 * 16) ** -0.5,
        "wi/kernel": 64**-0.5,
        "wi_0/kernel": 64**-0.5,
        "wi_1/kernel": 64**-0.5,
        "wo/kernel": 200**-0.5,
        "logits_dense/kernel": 64**-0.5,
    }
    for path, value in flatten(params).items():
        value = np.asarray(value)
        assert value.dtype == np.float32
        if path.endswith("scale"):
            np.testing.assert_array_equal(value, np.ones(value.shape))
            continue
        (expected,) = (0.5 * s for name, s in stddevs.items() if path.endswith(name))
        # Five standard errors of a standard deviation and of a mean.
        assert abs(value.std() / expected - 1) < 5 / np.sqrt(2 * value.size), path
        assert abs(value.mean()) < 5 * expected / np.sqrt(value.size), path


def test_an_unknown_axis_on_an_activation_raises():
    x = jnp.zeros((8, 4))
    assert constrain(x, "lenght", None) is x  # no mesh, no layout to get wrong
    with on_mesh(make_mesh({"data": 8, "fsdp": 1, "model": 1})):
        known = jax.jit(lambda x: constrain(x, "batch", None))(x)
        assert known.addressable_shards[0].data.shape == (1, 4)
        with pytest.raises(ValueError, match="'lenght'.* in no rule.*'length'"):
            jax.jit(lambda x: constrain(x, "lenght", None))(x)
