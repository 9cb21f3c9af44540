"""Weights that are split over many devices, made whole for a product, and their gradients split again."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from t5x_lite.models.axes import spec_of
from t5x_lite.params.integers import is_quantized

Sides = Mapping[str, tuple[int, ...]]

_SIDES: contextvars.ContextVar[Sides | None] = contextvars.ContextVar("sides", default=None)


@contextlib.contextmanager
def on_sides(sides: Sides) -> Iterator[None]:
    """Says of mesh axes which sides of a torus they lie over, {"fsdp": (8, 8)}; entered with the rules.

    A device's place on the axis is its place on the first side, times the size of the others, and so on.
    """
    token = _SIDES.set(sides)
    try:
        yield
    finally:
        _SIDES.reset(token)


def whole(weight: jax.Array, dtype: str, *names: str | None) -> jax.Array:
    """A weight in the compute type, for a product with it: `weight.astype(dtype)`.

    Where an axis that splits it lies over several sides of a torus (`on_sides`), it is gathered along one side after
    the other, and its gradient summed and scattered so. XLA would do both over all of them at once; for a plane of a
    TPU slice libtpu knows no reduce-scatter, and writes that, and gathers of a few MB too, as all-reduces, which send
    twice as much.
    """
    if is_quantized(weight):  # frozen: no gradient comes back
        weight = weight.astype(dtype)
    mesh, spec = jax.sharding.get_abstract_mesh(), PartitionSpec()
    if not mesh.empty:
        spec = spec_of(*names)
    # What no row of the batch is laid over (tensor parallelism) stays split; and a weight that its axes do not divide
    # lies whole (`parallel.shardings.fitting_shardings`).
    split = _axes_of(spec) & _axes_of(spec_of("batch")) if spec else set()
    for size, over in zip(weight.shape, spec, strict=False):
        if size % math.prod(mesh.shape[axis] for axis in _as_tuple(over)):
            split = set()
    sides = {axis: sizes for axis, sizes in (_SIDES.get() or {}).items() if axis in split}
    if not sides:
        return weight.astype(dtype)
    most = max(map(len, sides.values()))
    parts = _parts_of(mesh, sides)
    stages = tuple(
        NamedSharding(parts, PartitionSpec(*(_first_parts(over, sides, kept) for over in spec)))
        for kept in range(most, -1, -1)
    )
    return _gathered(weight, dtype, str(weight.dtype), stages)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _gathered(
    weight: jax.Array, dtype: str, _: str, stages: tuple[NamedSharding, ...]
) -> jax.Array:
    """stages: from the layout that the weight has to the whole of it."""
    result = weight.astype(dtype)
    for stage in stages:
        result = jax.lax.with_sharding_constraint(result, stage)
    return result


def _gathered_forward(
    weight: jax.Array, dtype: str, stored: str, stages: tuple[NamedSharding, ...]
) -> tuple[jax.Array, None]:
    return _gathered(weight, dtype, stored, stages), None


def _scattered_backward(
    dtype: str, stored: str, stages: tuple[NamedSharding, ...], _: None, gradient: jax.Array
) -> tuple[jax.Array]:
    # As a matrix: of [embed, heads, kv] libtpu makes no reduce-scatter. Not to the last stage, the whole: it would be
    # summed up on every device.
    staged = [first != last for first, last in zip(stages[0].spec, stages[-1].spec, strict=True)]
    kept = [
        number
        for number, over in enumerate(stages[0].spec)
        if number == 0 or over or staged[number - 1]
    ]
    sizes = [math.prod(gradient.shape[a:b]) for a, b in zip(kept, [*kept[1:], None], strict=True)]
    matrix = gradient.reshape(sizes)
    for stage in stages[-2::-1]:
        spec = PartitionSpec(*(stage.spec[number] for number in kept))
        matrix = jax.lax.with_sharding_constraint(matrix, NamedSharding(stage.mesh, spec))
    return (matrix.reshape(gradient.shape).astype(stored),)


_gathered.defvjp(_gathered_forward, _scattered_backward)


def _parts_of(mesh: AbstractMesh, sides: Sides) -> AbstractMesh:
    """The same devices in the same order, with an axis for each side."""
    axes = [
        (part, size, kind)
        for axis, whole_size, kind in zip(
            mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True
        )
        for part, size in zip(_parts(axis, sides), sides.get(axis, (whole_size,)), strict=True)
    ]
    names, sizes, kinds = zip(*axes, strict=True)
    return AbstractMesh(sizes, names, axis_types=kinds)


def _parts(axis: str, sides: Sides) -> tuple[str, ...]:
    if axis not in sides:
        return (axis,)
    return tuple(f"{axis} side {number}" for number in range(len(sides[axis])))


def _first_parts(over: Any, sides: Sides, kept: int) -> tuple[str, ...]:
    """Of mesh axes that a dimension is split over, the first `kept` sides of those that have some, and the others."""
    return tuple(
        part
        for axis in _as_tuple(over)
        for part in (_parts(axis, sides)[:kept] if axis in sides else (axis,))
    )


def _axes_of(spec: PartitionSpec) -> set[str]:
    return {axis for over in spec for axis in _as_tuple(over)}


def _as_tuple(axes: Any) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
