"""From a config to parameters on the mesh, random or read: the same whatever the layout; and what cannot be."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.models.config import Execution
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.stacking import unstack
from t5x_lite.wiring.model import architecture_of, load_model


@pytest.fixture(scope="module")
def load(finished, tiny_config):
    """load(overrides, seed=0, **mesh sizes) -> the loaded model and its parameters."""
    vocabulary = load_vocabulary(finished.folder / "tokenizer")

    def load(overrides, seed=0, **sizes):
        section = tiny_config(overrides).model
        mesh = make_mesh({"data": -1, "fsdp": 1, "model": 1} | sizes)
        with on_mesh(mesh):
            execution = Execution(dtype=section.dtype, scan_layers=section.scan_layers)
            loaded = load_model(section, execution, vocabulary, mesh, seed)
            return loaded, loaded.make()

    return load


def flat(params):
    return {
        path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(params, sep="/").items()
    }


def assert_equal(one, other):
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for path in one:
        assert one[path].dtype == other[path].dtype
        np.testing.assert_array_equal(one[path], other[path], err_msg=path)


def assert_as_promised(loaded, params):
    """What is said of the parameters before they are made holds of them."""
    described = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), params)
    assert described == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), loaded.abstract
    )


def test_the_seed_decides_random_weights(load):
    loaded, params = load({})
    assert_as_promised(loaded, params)
    assert_equal(load({})[1], params)
    other = flat(load({}, seed=1)[1])
    kernels = [path for path in other if path.endswith(("kernel", "embedding"))]
    assert kernels and all((other[path] != flat(params)[path]).mean() > 0.99 for path in kernels)


def test_layout_and_type_do_not_change_what_is_drawn(load):
    params = load({})[1]
    overrides = {"model.scan_layers": "True", "model.param_dtype": "bfloat16"}
    loaded, scanned = load(overrides, fsdp=2, data=4)
    assert_as_promised(loaded, scanned)
    assert_equal(unstack(scanned), jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params))


def test_a_checkpoint_lands_as_promised(load, finished):
    source = {"model.source": str(finished.folder / "model")}
    _, expected = load_hf(finished.folder / "model", param_dtype=None)
    loaded, params = load(source, fsdp=2, data=2, model=2)
    assert_as_promised(loaded, params)
    assert_equal(params, expected)
    loaded, scanned = load(source | {"model.scan_layers": "True"})
    assert_as_promised(loaded, scanned)
    assert_equal(unstack(scanned), expected)


def test_special_tokens_are_those_of_the_vocabulary(finished, tiny_config):
    vocabulary = load_vocabulary(finished.folder / "tokenizer")
    vocabulary.pad_id, vocabulary.eos_id = 7, 8
    config = architecture_of(tiny_config().model.architecture, vocabulary)
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start_token_id) == (7, 8, 7)
    section = tiny_config({"model.architecture.vocab_size": "0"}).model
    assert architecture_of(section.architecture, vocabulary).vocab_size == 384  # 300, padded
    with pytest.raises(InputError, match="there is no such field as pad_token_id"):
        architecture_of({**section.architecture, "pad_token_id": 0}, vocabulary)
    with pytest.raises(InputError, match="config.model.architecture.dropout_rate must be a number"):
        bad = {"model.architecture.dropout_rate": "much"}
        architecture_of(tiny_config(bad).model.architecture, vocabulary)


def test_a_model_with_fewer_embeddings_than_the_tokenizer_has_tokens(load):
    with pytest.raises(InputError, match="embeds 256 tokens, but the tokenizer has 300"):
        load({"model.architecture.vocab_size": "256"})


def test_a_mesh_that_does_not_divide_the_model(load):
    with pytest.raises(InputError, match="heads = 2 cannot be split over 4 devices"):
        load({}, model=4)


@pytest.mark.parametrize("scan", ["False", "True"])
def test_integers_lie_as_their_weights_do(load, scan):
    """On a mesh that splits inputs and outputs: the integers and scales of one device, where they were promised."""
    overrides = {"model.quantization": "int8", "model.scan_layers": scan}
    loaded, split = load(overrides, data=2, fsdp=2, model=2)
    assert_as_promised(loaded, split)
    _, alone = load({"model.quantization": "int8"})
    if scan == "True":
        split = unstack(split)
    for one, other in zip(*map(jax.tree.leaves, (split, alone)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
