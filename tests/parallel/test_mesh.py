"""Mesh sizes, and the rule table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t5x_lite.errors import InputError
from t5x_lite.models.gathered import on_sides, whole
from t5x_lite.parallel.mesh import make_mesh, mesh_sizes, on_mesh, torus_sides
from t5x_lite.parallel.rules import MESH_AXES, RULES
from t5x_lite.parallel.shardings import axes_sharding
from t5x_lite.pods.hlo import account


def sizes(data, fsdp, model, slice=1):
    return {"slice": slice, "data": data, "fsdp": fsdp, "model": model}


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        (sizes(8, 1, 1), (1, 8, 1, 1)),
        (sizes(-1, 1, 1), (1, 8, 1, 1)),
        (sizes(2, -1, 2), (1, 2, 2, 2)),
        (sizes(2, 4, -1), (1, 2, 4, 1)),
        (sizes(1, -1, 2, slice=2), (2, 1, 2, 2)),
        ({"data": 1, "fsdp": 8, "model": 1}, (1, 1, 8, 1)),
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


@dataclasses.dataclass(frozen=True)
class TPU:
    """As much of a TPU's device as a mesh asks for."""

    id: int
    slice_index: int
    platform: str = "tpu"
    device_kind: str = "of the future"
    process_index: int = 0
    core_on_chip: int = 0

    @property
    def coords(self):
        return self.id // 2 % 2, self.id // 4, 0


def test_the_slice_axis_goes_over_tpu_slices_and_no_other_does():
    of_two_slices = [TPU(number, number % 2) for number in range(8)]
    mesh = make_mesh(sizes(1, 2, 2, slice=2), of_two_slices)
    slices = np.vectorize(lambda device: device.slice_index)(mesh.devices)
    assert slices.shape == (2, 1, 2, 2)
    assert (slices[0] == 0).all() and (slices[1] == 1).all()
    for given in (sizes(2, 2, 2), sizes(1, 1, 2, slice=4)):
        with pytest.raises(InputError, match="of 2 TPU slices: set --config.mesh.slice=2"):
            make_mesh(given, of_two_slices)


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
    assert spec == PartitionSpec(
        ("slice", "data", "fsdp"), None, None
    )  # fsdp has gone to the batch
    assert axes_sharding(("vocab", "embed"), mesh).spec == PartitionSpec("model", "fsdp")


def test_an_unknown_axis_of_a_parameter_raises():
    with pytest.raises(ValueError, match="'embde'.* in no rule.*'embed'"):
        axes_sharding(("embde", "mlp"), make_mesh(sizes(2, 2, 2)))


@dataclasses.dataclass(frozen=True)
class Placed:
    """A device with its place on a torus."""

    coords: tuple[int, int, int]
    id: int = 0
    platform: str = "tpu"


@pytest.mark.parametrize(
    ("shape", "order", "sides"),
    [
        ((8, 8), (0, 1), {"fsdp": (8, 8)}),
        ((4, 16), (1, 0), {"fsdp": (16, 4)}),
        ((4, 4, 4), (2, 0, 1), {"fsdp": (4, 4, 4)}),
        ((4, 8), (0, 1), {}),  # small enough for a ring
        ((64,), (0,), {}),  # one side
    ],
    ids=str,
)
def test_sides_of_the_torus_that_a_large_axis_lies_over(shape, order, sides):
    """order: the dimensions of the torus, from the one that the axis moves along last."""
    places = np.moveaxis(np.indices(shape), 0, -1).transpose(*order, -1).reshape(-1, len(shape))
    devices = np.empty(len(places), object)
    devices[:] = [Placed((*map(int, place), 0, 0)[:3]) for place in places]
    mesh = Mesh(devices.reshape(1, 1, -1, 1), MESH_AXES)
    assert torus_sides(mesh) == sides
    turned = np.roll(devices, 1)  # line by line, but over the box's edge
    assert torus_sides(Mesh(turned.reshape(1, 1, -1, 1), MESH_AXES)) == {}


def test_devices_without_a_place_have_no_sides(monkeypatch):
    monkeypatch.setattr("t5x_lite.parallel.mesh._LARGEST_RING", 1)
    assert torus_sides(make_mesh(sizes(1, 8, 1))) == {}


def test_a_weight_is_gathered_and_its_gradient_scattered_side_by_side():
    mesh = make_mesh(sizes(1, 8, 1))
    # Whole numbers: no order of sums rounds.
    weight, x = np.random.default_rng(0).integers(-3, 4, (2, 16, 16)).astype(np.float32)

    def loss(weight, x):
        return jnp.square(x @ whole(weight, "float32", "embed", "mlp")).sum()

    lies, rows = NamedSharding(mesh, PartitionSpec("fsdp")), axes_sharding(("batch", None), mesh)
    with on_mesh(mesh):
        at_once = jax.jit(jax.grad(loss), out_shardings=lies)(weight, x)
        with on_sides({"fsdp": (4, 2)}):
            step = jax.jit(jax.grad(loss), in_shardings=(lies, rows), out_shardings=lies)
            program = step.lower(weight, x).compile()
    staged = program(jax.device_put(weight, lies), jax.device_put(x, rows))
    np.testing.assert_array_equal(staged, at_once)
    found = account(program.as_text(), mesh.shape, unknown_trips=1).collectives
    size = weight.nbytes
    # Parts of two devices, then of four; and the sums in the other order. (A CPU's compiler knows no reduce-scatter:
    # twice the bytes.)
    assert sorted(c.sent for c in found if c.kind == "all-gather") == [size / 8, size * 3 / 4]
    assert sorted(c.sent / 2 for c in found if c.kind == "all-reduce") == [size / 8, size * 3 / 4]


@pytest.mark.parametrize(
    ("given", "sides", "embed"),
    [
        (sizes(1, 1, 8), {"model": (4, 2)}, 16),  # tensor parallelism: no weight is gathered
        (sizes(1, 8, 1), {"fsdp": (4, 2)}, 12),  # eight do not divide it: it lies whole
    ],
    ids=["tensor", "odd"],
)
def test_weights_that_are_not_gathered(given, sides, embed):
    weight = jnp.zeros((embed, 16))
    with on_mesh(make_mesh(given)), on_sides(sides):
        cast = jax.jit(lambda weight: whole(weight, "bfloat16", "embed", "mlp"))
        assert "sharding_constraint" not in cast.lower(weight).as_text()
