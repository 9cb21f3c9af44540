"""The device mesh, entered once around the whole run together with the axis rules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import jax
from flax import linen as nn
from jax.sharding import AxisType, Mesh

from t5x_lite.errors import InputError
from t5x_lite.parallel.rules import MESH_AXES, RULES


def mesh_sizes(sizes: dict[str, int], device_count: int) -> tuple[int, ...]:
    """Sizes in the order of MESH_AXES, with one -1 resolved to the rest of the devices.

    Raises:
      InputError: unknown axes, or sizes whose product is not the device count.

    >>> mesh_sizes({"data": -1, "fsdp": 1, "model": 2}, 8)
    (4, 1, 2)
    """
    if set(sizes) != set(MESH_AXES):
        raise InputError(f"mesh must have the fields {MESH_AXES}, got {sorted(sizes)}")
    values = [int(sizes[axis]) for axis in MESH_AXES]
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
    """A mesh over `devices` (all by default) with the axes data, fsdp, model."""
    devices = jax.devices() if devices is None else devices
    shape = mesh_sizes(sizes, len(devices))
    return jax.make_mesh(
        shape, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES), devices=devices
    )


@contextlib.contextmanager
def on_mesh(mesh: Mesh) -> Iterator[Mesh]:
    """Enters mesh and rules. Around the whole run: rules are not part of jit's cache key."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
        yield mesh
