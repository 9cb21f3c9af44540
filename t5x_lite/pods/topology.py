"""The devices of a TPU topology named by its size, for compiling without one."""

from __future__ import annotations

import importlib.util
import os

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh


def topology_devices(name: str) -> list[jax.Device]:
    """The devices of a topology such as "v5e:16x16" (256 chips): they compile, but hold no arrays.

    Run the process with JAX_PLATFORMS=cpu. It needs libtpu, no TPU, and sets two environment variables of libtpu
    where they are not set: TPU_SKIP_MDS_QUERY (off a TPU VM, its metadata server would be waited for), and
    ALLOW_MULTIPLE_LIBTPU_LOAD (another such process holds a lock file).

    Raises:
      InputError: libtpu is not installed, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "compiling for a TPU topology needs libtpu: pip install 't5x-lite[pods]' (Linux on x86-64)"
        )
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise InputError(
            f"no TPU topology {name!r}: expected a generation and its size in chips, such as v5e:4x4"
            f" or v5p:4x4x4 ({str(error).splitlines()[0]})"
        ) from error


def topology_mesh(name: str, sizes: dict[str, int]) -> Mesh:
    """A mesh with the axes data, fsdp, model (`sizes`, at most one -1) over a named topology.

    Raises:
      InputError: as `topology_devices` and `make_mesh`; or the sizes do not map to the topology's torus.
    """
    devices = topology_devices(name)
    try:
        return make_mesh(sizes, devices)
    except NotImplementedError as error:
        raise InputError(
            f"mesh {sizes} does not map to the torus of {name}: choose sizes that are products of its"
            " dimensions (on v5p:4x4x4, 4, 16 and 64)"
        ) from error
