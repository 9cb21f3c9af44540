"""Shardings of parameters, optimizer state and batches, from shapes and logical axes alone."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from flax import linen as nn
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from t5x_lite.errors import InputError
from t5x_lite.parallel.rules import RULES
from t5x_lite.params.integers import is_quantized
from t5x_lite.params.paths import flatten, map_with_path


def axes_sharding(axes: tuple[str | None, ...], mesh: Mesh) -> NamedSharding:
    """The sharding of an array with these logical axes.

    Raises:
      ValueError: a name is in no rule. (flax would replicate silently.)
    """
    known = {name for name, _ in RULES}
    if unknown := [name for name in axes if name is not None and name not in known]:
        raise ValueError(f"logical axes {unknown} are in no rule; known: {sorted(known)}")
    return NamedSharding(mesh, nn.logical_to_mesh_axes(axes, RULES) or PartitionSpec())


def param_shardings(abstract_params: Any, axes: Any, mesh: Mesh) -> Any:
    """Shardings of a parameter tree.

    Args:
      abstract_params: tree of `jax.ShapeDtypeStruct`.
      axes: the same tree, a tuple of logical axis names a leaf.

    Raises:
      InputError: a dimension that its mesh axes do not divide, with the parameter's path.
    """

    def sharding(path: str, leaf: jax.ShapeDtypeStruct, names: tuple[str, ...]) -> NamedSharding:
        result = axes_sharding(names, mesh)
        for size, name, over in zip(leaf.shape, names, result.spec, strict=False):
            parts = math.prod(mesh.shape[axis] for axis in _as_tuple(over))
            if size % parts:
                raise InputError(
                    f"parameter {path}: {name} = {size} cannot be split over {parts} devices (mesh axis {over});"
                    f" {_way_out(name, size, parts)}"
                )
        return result

    return map_with_path(sharding, abstract_params, axes)


def _way_out(name: str | None, size: int, parts: int) -> str:
    """What to do about an axis that its mesh axis does not divide."""
    if name == "embed":
        return f"choose a mesh.fsdp that divides {size}"
    others = f"choose a mesh.model that divides {size}, or mesh=fsdp, which does not split it"
    if name != "vocab":
        return others
    rows = -(-size // parts) * parts
    return (
        f"resize the embeddings to {rows} rows, the next multiple (transformers'"
        f" model.resize_token_embeddings), {others}"
    )


def fitting_shardings(abstract_params: Any, axes: Any, mesh: Mesh) -> Any:
    """`param_shardings` of a model beside the one that the mesh was chosen for: where mesh axes do not divide a
    dimension, it stays whole on every device."""

    def sharding(_: str, leaf: jax.ShapeDtypeStruct, names: tuple[str, ...]) -> NamedSharding:
        spec = axes_sharding(names, mesh).spec
        parts = (math.prod(mesh.shape[axis] for axis in _as_tuple(over)) for over in spec)
        kept = (
            None if size % n else over
            for size, n, over in zip(leaf.shape, parts, spec, strict=False)
        )
        return NamedSharding(mesh, PartitionSpec(*kept))

    return map_with_path(sharding, abstract_params, axes)


def with_shardings(shapes: Any, shardings: Any, dtype: str | None = None) -> Any:
    """The tree of `jax.ShapeDtypeStruct` with these shardings; `dtype` None keeps each leaf's own."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            leaf.shape, dtype or leaf.dtype, sharding=sharding
        ),
        shapes,
        shardings,
    )


def optimizer_shardings(
    optimizer: optax.GradientTransformation, abstract_params: Any, shardings: Any, mesh: Mesh
) -> Any:
    """Shardings of `optimizer.init(params)`: a moment lies as its parameter does, everything else is replicated.

    A factored moment (Adafactor) lacks some of its parameter's axes and keeps the sharding of the rest.
    """
    by_path = {
        tuple(path.split("/")): (leaf.shape, sharding.spec)
        for (path, leaf), sharding in zip(
            flatten(abstract_params).items(), flatten(shardings).values(), strict=True
        )
        if not is_quantized(leaf)  # no optimizer has anything of integers
    }

    def sharding(path: str, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        keys = tuple(path.split("/"))
        for start in range(len(keys)):
            if keys[start:] in by_path:
                return NamedSharding(mesh, _moment_spec(leaf.shape, *by_path[keys[start:]]))
        return NamedSharding(mesh, PartitionSpec())

    return map_with_path(sharding, jax.eval_shape(optimizer.init, abstract_params))


def _moment_spec(
    shape: tuple[int, ...], param_shape: tuple[int, ...], spec: PartitionSpec
) -> PartitionSpec:
    """The parameter's spec on those of its axes that the moment has, matched by size from the left."""
    remaining = list(zip(param_shape, (*spec, *(None,) * len(param_shape)), strict=False))
    result: list[Any] = []
    for size in shape:
        while remaining and remaining[0][0] != size:
            remaining.pop(0)
        if not remaining:
            return PartitionSpec()
        result.append(remaining.pop(0)[1])
    return PartitionSpec(*result)


def _as_tuple(axes: Any) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over slice, data and fsdp; replicated over model."""
    return NamedSharding(mesh, PartitionSpec(dict(RULES)["batch"]))


def row_multiple(mesh: Mesh | AbstractMesh, accumulation: int = 1) -> int:
    """What the number of rows of a global batch must be a multiple of."""
    return math.prod(mesh.shape[axis] for axis in dict(RULES)["batch"] or ()) * accumulation


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, Any], mesh: Mesh) -> dict[str, jax.Array]:
    """A global batch on the devices; of several processes, each transfers the rows that its devices hold.

    batch: every array with all rows, the same on every process.
    """
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_callback(rows.shape, sharding, rows.__getitem__)
        for name, rows in batch.items()
    }
