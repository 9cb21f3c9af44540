"""The device mesh, entered once around the whole run together with the axis rules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import jax
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from t5x_lite.errors import InputError
from t5x_lite.parallel.rules import MESH_AXES, RULES, SLOW_AXIS


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
    """Enters mesh and rules. Around the whole run: rules are not part of jit's cache key."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield mesh
