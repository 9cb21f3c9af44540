"""The devices of a TPU topology named by its size, for compiling without one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from t5x_lite.errors import InputError
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.rules import SLOW_AXIS

# A v4 chip has two cores, which a TPU VM shows as one device; the others come so.
_CHIP_CONFIGS = {"v4": {"chip_config_name": "megacore"}}


def has_tpu_compiler() -> bool:
    """Whether libtpu, which compiles for TPUs that are not there, is installed."""
    return importlib.util.find_spec("libtpu") is not None


def compiler_version() -> str | None:
    """The version of libtpu, which decides the figures; None where it is not installed."""
    return importlib.metadata.version("libtpu") if has_tpu_compiler() else None


def topology_devices(name: str, slices: int = 1) -> list[jax.Device]:
    """The devices of a topology such as "v5e:16x16" (256 chips), or of several such slices: they compile, but hold no
    arrays.

    Run the process with JAX_PLATFORMS=cpu. It needs libtpu, no TPU, and sets two environment variables of libtpu
    where they are not set: TPU_SKIP_MDS_QUERY (off a TPU VM, its metadata server would be waited for), and
    ALLOW_MULTIPLE_LIBTPU_LOAD (another such process holds a lock file).

    Raises:
      InputError: libtpu is not installed, or knows no such topology.
    """
    if not has_tpu_compiler():
        raise InputError(
            "compiling for a TPU topology needs libtpu: pip install 't5x-lite[pods]' (Linux on x86-64)"
        )
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    options: dict[str, Any] = dict(_CHIP_CONFIGS.get(name.partition(":")[0], {}))
    if slices > 1:
        options["num_slices"] = slices
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise InputError(
            f"no TPU topology {name!r}: expected a generation and its size in chips, such as v5e:4x4"
            f" or v5p:4x4x4 ({str(error).splitlines()[0]})"
        ) from error
    return list(found.devices)


def topology_mesh(name: str, sizes: dict[str, int]) -> Mesh:
    """A mesh with the axes slice, data, fsdp, model (`sizes`, at most one -1) over `slice` times a named topology.

    Raises:
      InputError: as `topology_devices` and `make_mesh`; or the sizes do not map to the topology's torus.
    """
    try:
        return make_mesh(sizes, topology_devices(name, sizes.get(SLOW_AXIS, 1)))
    except NotImplementedError as error:
        raise InputError(
            f"mesh {sizes} does not map to the torus of {name}: choose sizes that are products of its"
            " dimensions (on v5p:4x4x4, 4, 16 and 64)"
        ) from error


def cpu_mesh(count: int, sizes: dict[str, int]) -> Mesh:
    """A mesh over so many devices of the CPU, to compile for in place of a topology.

    Raises:
      InputError: as `make_mesh`; or the process has begun with fewer devices.
    """
    with contextlib.suppress(RuntimeError):  # jax has begun: with the devices there are, or not
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise InputError(
            f"{count} CPU devices are needed, and this process has {len(devices)}: start it with"
            f" XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    return make_mesh(sizes, devices[:count])
