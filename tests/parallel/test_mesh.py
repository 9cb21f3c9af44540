"""Mesh sizes, and the rule table."""

import jax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec

from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh, mesh_sizes, on_mesh
from t5x_lite.parallel.rules import MESH_AXES, RULES
from t5x_lite.parallel.shardings import axes_sharding


def sizes(data, fsdp, model):
    return {"data": data, "fsdp": fsdp, "model": model}


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        (sizes(8, 1, 1), (8, 1, 1)),
        (sizes(-1, 1, 1), (8, 1, 1)),
        (sizes(2, -1, 2), (2, 2, 2)),
        (sizes(2, 4, -1), (2, 4, 1)),
    ],
)
def test_sizes(given, resolved):
    assert mesh_sizes(given, 8) == resolved


@pytest.mark.parametrize(
    "given",
    [
        sizes(4, 1, 1),
        sizes(16, 1, 1),
        sizes(-1, 3, 1),
        sizes(-1, -1, 1),
        sizes(0, 8, 1),
        sizes(-2, 4, 1),
        sizes(-8, -1, 1),
        {"data": 8},
        sizes(8, 1, 1) | {"pipeline": 1},
    ],
    ids=str,
)
def test_bad_sizes(given):
    with pytest.raises(InputError, match="^mesh") as error:
        mesh_sizes(given, 8)
    assert "\n" not in str(error.value)


def test_a_mesh_that_does_not_fit_says_how_many_devices_there_are():
    with pytest.raises(InputError, match="needs 6 devices.*there are 8"):
        make_mesh(sizes(3, 2, 1))


def test_a_mesh_over_some_devices():
    mesh = make_mesh(sizes(1, 2, 1), jax.devices()[:2])
    assert dict(mesh.shape) == sizes(1, 2, 1)
    assert list(mesh.devices.flat) == jax.devices()[:2]


def test_mesh_and_rules_hold_within_the_context_alone():
    mesh = make_mesh(sizes(2, 2, 2))
    with on_mesh(mesh):
        assert jax.sharding.get_abstract_mesh().shape == mesh.abstract_mesh.shape
        assert tuple(nn.get_logical_axis_rules()) == RULES
    assert jax.sharding.get_abstract_mesh().empty
    assert not nn.get_logical_axis_rules()


def test_rules_name_each_logical_axis_once_and_mesh_axes_that_exist():
    names = [name for name, _ in RULES]
    assert len(set(names)) == len(names)
    for _, over in RULES:
        axes = (over,) if isinstance(over, str) else over or ()
        assert set(axes) <= set(MESH_AXES)


def test_a_mesh_axis_is_used_once_an_array():
    mesh = make_mesh(sizes(2, 2, 2))
    spec = axes_sharding(("batch", "length", "embed"), mesh).spec
    assert spec == PartitionSpec(("data", "fsdp"), None, None)  # fsdp has gone to the batch
    assert axes_sharding(("vocab", "embed"), mesh).spec == PartitionSpec("model", "fsdp")


def test_an_unknown_axis_of_a_parameter_raises():
    with pytest.raises(ValueError, match="'embde'.* in no rule.*'embed'"):
        axes_sharding(("embde", "mlp"), make_mesh(sizes(2, 2, 2)))
