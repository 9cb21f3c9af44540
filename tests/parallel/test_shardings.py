"""Parameters, optimizer states and batches really lie in pieces on the devices."""

import dataclasses
import functools
import typing

import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from t5x_lite.errors import InputError
from t5x_lite.models.classifier_init import abstract_module, text_examples
from t5x_lite.models.config import Execution
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.models.init import abstract_params, init_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerName, OptimizerSettings
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.rules import RULES
from t5x_lite.parallel.shardings import (
    batch_sharding,
    optimizer_shardings,
    param_shardings,
    put_batch,
    replicated,
    row_multiple,
)
from t5x_lite.params.paths import flatten

OPTIMIZERS = typing.get_args(OptimizerName)


def mesh_of(data, fsdp, model, slices=1):
    return make_mesh({"slice": slices, "data": data, "fsdp": fsdp, "model": model})


def shardings_of(config, mesh, scan_layers=False):
    model = T5(config, Execution(scan_layers=scan_layers))
    abstract = abstract_params(model)
    return abstract, param_shardings(abstract, logical_axes(model), mesh)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("feed_forward_proj", ["relu", "gated-gelu"])
def test_every_axis_of_every_parameter_has_a_rule(config, feed_forward_proj, scan_layers):
    config = dataclasses.replace(config, feed_forward_proj=feed_forward_proj)
    model = T5(config, Execution(scan_layers=scan_layers))
    axes = jax.tree.leaves(logical_axes(model), is_leaf=lambda leaf: isinstance(leaf, tuple))
    shapes = jax.tree.leaves(abstract_params(model))
    assert len(axes) == len(shapes)
    for names, leaf in zip(axes, shapes, strict=True):
        assert len(names) == len(leaf.shape)
        assert set(names) <= set(dict(RULES))


# Of a device of the mesh (2, 2, 2): embed over fsdp; heads, mlp and vocab over model.
SHARDS = {
    "token_embedder/embedding": (32, 16),
    "encoder/relpos_bias/rel_embedding": (4, 8),
    "encoder/layers_1/pre_attention_layer_norm/scale": (16,),
    "encoder/layers_1/attention/query/kernel": (16, 4, 4),
    "encoder/layers_1/attention/out/kernel": (4, 4, 16),
    "decoder/layers_0/mlp/wi_0/kernel": (16, 24),
    "decoder/layers_0/mlp/wo/kernel": (24, 16),
    "decoder/logits_dense/kernel": (16, 32),
}


def test_initialization_makes_shards_of_the_same_values(config):
    config = dataclasses.replace(config, num_decoder_layers=1)
    model, mesh = T5(config, Execution()), mesh_of(2, 2, 2)
    _, shardings = shardings_of(config, mesh)
    make = functools.partial(init_params, model)
    params = flatten(jax.jit(make, out_shardings=shardings)(jax.random.key(0)))
    for path, shape in SHARDS.items():
        shards = params[path].addressable_shards
        assert len(shards) == 8 and {shard.data.shape for shard in shards} == {shape}, path
    whole = flatten(jax.jit(make)(jax.random.key(0)))
    for path, value in params.items():
        np.testing.assert_array_equal(value, whole[path])


def test_scanned_layers_are_cut_like_their_unrolled_ones(config):
    mesh = mesh_of(2, 2, 2)
    unrolled = flatten(shardings_of(config, mesh)[1])
    for path, sharding in flatten(shardings_of(config, mesh, scan_layers=True)[1]).items():
        spec = unrolled[path.replace("/layers/", "/layers_0/")].spec
        assert sharding.spec == (PartitionSpec(None, *spec) if "/layers/" in path else spec), path


def optimizer_of(name):
    return make_optimizer(
        OptimizerSettings(
            name,
            b1=0.9,
            b2=0.999,
            eps=1e-8,
            weight_decay=0.1,
            no_weight_decay=(".*/scale",),
            clip_norm=1.0,
            rate_multipliers=((".*/scale", 0.5),),
        ),
        lambda step: 1e-3,
    )


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_are_cut_like_their_parameters(config, name, scan_layers):
    """Large enough for Adafactor to factor: its vectors then lie as the axis that they have."""
    config = dataclasses.replace(config, vocab_size=256, d_model=136, d_ff=144)
    mesh, optimizer = mesh_of(2, 2, 2), optimizer_of(name)
    abstract, shardings = shardings_of(config, mesh, scan_layers)
    params = {
        path: (leaf.shape, flatten(shardings)[path].spec)
        for path, leaf in flatten(abstract).items()
    }
    state = jax.eval_shape(optimizer.init, abstract)
    result = optimizer_shardings(optimizer, abstract, shardings, mesh)
    assert jax.tree.structure(result) == jax.tree.structure(state)
    whole = factored = 0
    for (path, leaf), sharding in zip(flatten(state).items(), jax.tree.leaves(result), strict=True):
        owner = next((owner for owner in params if path.endswith("/" + owner)), None)
        if owner is None or leaf.size <= leaf.shape[0] * (leaf.ndim > 0):
            continue  # counters, and the placeholders of what is not factored (or only a vector anyway)
        shape, spec = params[owner]
        if leaf.shape == shape:
            assert sharding.spec == PartitionSpec(*spec), path
            whole += 1
    for path in flatten(state):
        if path.endswith("mlp/wi_0/kernel") and "/v_row/" in path:
            assert flatten(result)[path].spec[-1] == "fsdp", path  # has embed, lacks mlp
            factored += 1
        if path.endswith("mlp/wi_0/kernel") and "/v_col/" in path:
            assert flatten(result)[path].spec[-1] == "model", path  # has mlp, lacks embed
            factored += 1
    moments = {"adamw": 2, "rms_adamw": 2, "muon": 1, "adafactor": 1}[name]
    assert whole >= moments * sum(len(shape) > 1 for shape, _ in params.values()) * (
        0.5 if name == "adafactor" else 1
    )
    assert factored == (2 * (2 if scan_layers else 4) if name == "adafactor" else 0)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_an_optimizer_state_is_made_in_shards(config, name):
    config = dataclasses.replace(
        config, d_model=136, d_ff=144, num_encoder_layers=1, num_decoder_layers=1
    )
    mesh, optimizer = mesh_of(2, 2, 2), optimizer_of(name)
    abstract, shardings = shardings_of(config, mesh)
    state_shardings = optimizer_shardings(optimizer, abstract, shardings, mesh)
    params = jax.tree.map(
        lambda leaf, sharding: jax.device_put(np.zeros(leaf.shape, np.float32), sharding),
        abstract,
        shardings,
    )
    state = jax.jit(optimizer.init, out_shardings=state_shardings)(params)
    mean_or_root = "mu" if name == "adamw" else "v_row"
    moments = optax.tree_utils.tree_get_all_with_path(state, mean_or_root)
    found = [
        leaf.addressable_shards[0].data.shape
        for _, tree in moments
        for path, leaf in flatten(tree).items()
        if path == "encoder/layers_0/mlp/wo/kernel"
    ]
    assert found == [(72, 68) if name == "adamw" else (68,)]


def test_an_axis_that_cannot_be_cut_is_named_with_its_parameter(config):
    with pytest.raises(InputError) as error:
        shardings_of(dataclasses.replace(config, num_heads=6), mesh_of(2, 1, 4))
    message = str(error.value)
    assert "attention/key/kernel" in message and "heads = 6" in message and "4 devices" in message
    assert "\n" not in message
    with pytest.raises(InputError, match="vocab = 65 cannot be split over 2 devices"):
        shardings_of(dataclasses.replace(config, vocab_size=65), mesh_of(4, 1, 2))


@pytest.mark.parametrize(
    ("changes", "sizes", "message"),
    [
        ({"vocab_size": 2049}, (2, 1, 4), r"resize the embeddings to 2052 rows, .* or mesh=fsdp"),
        ({"num_heads": 6}, (2, 1, 4), r"choose a mesh\.model that divides 6, or mesh=fsdp"),
        ({"d_ff": 51}, (4, 1, 2), r"mlp = 51 cannot .* mesh\.model that divides 51, or mesh=fsdp"),
        ({"d_model": 30}, (2, 4, 1), r"embed = 30 cannot .*; choose a mesh\.fsdp that divides 30"),
    ],
)
def test_the_refusal_says_what_to_do(config, changes, sizes, message):
    with pytest.raises(InputError, match=message):
        shardings_of(dataclasses.replace(config, **changes), mesh_of(*sizes))
    if "d_model" not in changes:  # what it says holds
        shardings_of(dataclasses.replace(config, **changes), mesh_of(1, 8, 1))
    if "vocab_size" in changes:
        shardings_of(dataclasses.replace(config, vocab_size=2052), mesh_of(2, 1, 4))


@pytest.mark.parametrize("labels", [("score",), ("a", "b", "c")])
def test_heads_of_any_number_of_labels_fit_every_mesh(config, labels):
    """A head's labels are split over nothing."""
    encoder = EncoderConfig("roberta", 64, 32, 64, 1, 4, 20, labels)
    modules = (
        EncoderClassifier(encoder),
        T5Classifier(config, labels, Execution()),
        T5Scorer(config, Execution(), labels, False),
    )
    for module in modules:
        abstract, axes = abstract_module(module, *text_examples(module))
        for sizes in ((2, 1, 4), (1, 8, 1), (2, 2, 2)):
            param_shardings(abstract, axes, mesh_of(*sizes))


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [((8, 1, 1), 2), ((1, 8, 1), 2), ((1, 1, 8), 16), ((2, 2, 2), 4), ((1, 2, 2, 2), 4)],
)
def test_a_batch_is_cut_over_slice_data_and_fsdp(sizes, rows):
    mesh = mesh_of(*sizes)
    batch = {
        "encoder_input_tokens": np.arange(16 * 3, dtype=np.int32).reshape(16, 3),
        "decoder_loss_weights": np.ones((16, 2), np.float32),
    }
    placed = put_batch(batch, mesh)
    for name, array in placed.items():
        np.testing.assert_array_equal(array, batch[name])
        assert array.sharding == batch_sharding(mesh)
        assert len(array.addressable_shards) == 8
        assert {shard.data.shape[0] for shard in array.addressable_shards} == {rows}
    assert row_multiple(mesh) == 16 // rows
    assert row_multiple(mesh, accumulation=3) == 3 * 16 // rows


def test_replicated_is_whole_everywhere():
    array = jax.device_put(np.arange(6), replicated(mesh_of(2, 2, 2)))
    assert {shard.data.shape for shard in array.addressable_shards} == {(6,)}
    assert len(array.addressable_shards) == 8
