"""The device mesh, entered once around the whole run together with the axis rules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from t5x_lite.errors import InputError
from t5x_lite.models.gathered import on_sides
from t5x_lite.parallel.rules import MESH_AXES, RULES, SLOW_AXIS

_LARGEST_RING = 32


def mesh_sizes(sizes: dict[str, int], device_count: int) -> tuple[int, ...]:
    """Sizes in the order of MESH_AXES, with one -1 resolved to the rest of the devices; without "slice", there is one.

    Raises:
      InputError: unknown axes, or sizes whose product is not the device count.

    >>> mesh_sizes({"slice": 2, "data": -1, "fsdp": 1, "model": 2}, 8)
    (2, 2, 1, 2)
    """
    if set(sizes) | {SLOW_AXIS} != set(MESH_AXES):
        raise InputError(f"mesh must have the fields {MESH_AXES}, got {sorted(sizes)}")
    values = [int(sizes.get(axis, 1)) for axis in MESH_AXES]
    fixed = math.prod(value for value in values if value != -1)
    if values.count(-1) > 1 or any(value < 1 and value != -1 for value in values):
        raise InputError(
            f"mesh sizes must be above 0, at most one of them -1 (the rest), got {sizes}"
        )
    if values.count(-1) and device_count % fixed == 0:
        values[values.index(-1)] = device_count // fixed
    if math.prod(values) != device_count:
        raise InputError(
            f"mesh {sizes} needs {fixed} devices (or a multiple, with -1), but there are {device_count}:"
            " change the mesh fields so that their product is the device count"
        )
    return tuple(values)


def make_mesh(sizes: dict[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over `devices` (all by default) with the axes slice, data, fsdp, model.

    Of several TPU slices, `slice` goes over them, and the other axes stay within each. Elsewhere it is an axis like
    `data`.

    Raises:
      InputError: as `mesh_sizes`, or there are more or fewer TPU slices than `slice` says.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_sizes(sizes, len(devices))
    types = (AxisType.Auto,) * len(MESH_AXES)
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) not in (1, shape[0]) and devices[0].platform == "tpu":
        raise InputError(
            f"mesh slice = {shape[0]}, but the devices are those of {len(slices)} TPU slices: set"
            f" --config.mesh.slice={len(slices)}"
        )
    if 1 < len(slices) == shape[0]:
        placed = mesh_utils.create_hybrid_device_mesh((1, *shape[1:]), (shape[0], 1, 1, 1), devices)
        return Mesh(placed, MESH_AXES, axis_types=types)
    return jax.make_mesh(shape, MESH_AXES, axis_types=types, devices=devices)


@contextlib.contextmanager
def on_mesh(mesh: Mesh) -> Iterator[Mesh]:
    """Enters mesh, rules and `torus_sides`. Around the whole run: rules and sides are not part of jit's cache key."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES), on_sides(torus_sides(mesh)):
        yield mesh


def torus_sides(mesh: Mesh) -> dict[str, tuple[int, ...]]:
    """Of each large axis that lies over several sides of a TPU slice's torus, their sizes: {"fsdp": (8, 8)} of an axis
    over all of v5e:8x8. {} on all other devices.

    Large is what XLA does not overlap with the products as a ring of steps, of which it makes 32 at most.
    """
    found = {}
    for number, (axis, size) in enumerate(mesh.shape.items()):
        line = np.moveaxis(mesh.devices, number, 0).reshape(size, -1)[:, 0]
        if size <= _LARGEST_RING or any(not hasattr(device, "coords") for device in line):
            continue
        places = np.array([device.coords for device in line])
        sides = _sides(places)
        if len(sides) > 1:
            found[axis] = sides
    return found


def _sides(places: np.ndarray) -> tuple[int, ...]:
    """Sizes of the box that places on a torus, int [devices, dimensions], fill line by line; () if they fill none."""
    steps = {}  # of each dimension, how many places on it changes for the first time
    for dimension in range(places.shape[1]):
        moved = np.flatnonzero(places[:, dimension] != places[0, dimension])
        if moved.size:
            steps[dimension] = int(moved[0])
    order = sorted(steps, key=lambda dimension: -steps[dimension])
    sizes = tuple(len(np.unique(places[:, dimension])) for dimension in order)
    if math.prod(sizes) != len(places):
        return ()
    box = places[:, order].reshape(*sizes, len(order))
    for number in range(len(order)):
        along = np.moveaxis(box[..., number], number, 0).reshape(sizes[number], -1)
        if (along != along[:, :1]).any():
            return ()
    return sizes
