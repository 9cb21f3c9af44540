"""The mesh, as a config has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated

from t5x_lite.sections import Expected, Section

Axis = Annotated[
    int, Expected("a whole number above 0, or -1 for the rest", lambda v: v > 0 or v == -1)
]

# Meshes by name, for --config.mesh=NAME; -1 is the rest of the devices.
MESHES: Mapping[str, Mapping[str, int]] = {
    "data": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
    "fsdp": {"slice": 1, "data": 1, "fsdp": -1, "model": 1},
    "tensor": {"slice": 1, "data": 1, "fsdp": 1, "model": -1},
    "fsdp_tensor": {"slice": 1, "data": 1, "fsdp": -1, "model": 2},
}


class MeshSettings(Section):
    """How many devices lie along each axis."""

    slice: Annotated[Axis, "Slices of a pod, joined by the slow network; rows are shared out."]
    data: Annotated[Axis, "Devices that share out rows, each with the whole state."]
    fsdp: Annotated[Axis, "Devices that share out rows, and weights and optimizer state as well."]
    model: Annotated[Axis, "Devices that share out each layer (tensor parallel)."]

    def sizes(self) -> dict[str, int]:
        """By axis, as `mesh.make_mesh` takes them."""
        return dataclasses.asdict(self)
