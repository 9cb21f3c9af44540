"""On what a run ran: versions and devices, for its report."""

from __future__ import annotations

import importlib.metadata
import platform

import jax

_PACKAGES = (
    "t5x_lite",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "transformers",
    "numpy",
)


def environment() -> dict[str, str]:
    """Versions of what decides the numbers, and the devices by kind and count."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            versions[package] = "not installed"
    devices = jax.devices()
    return versions | {
        "python": platform.python_version(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": str(jax.process_count()),
    }
