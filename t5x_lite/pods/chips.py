"""TPU chips by generation, with the numbers that Google publishes.

Sources, read in November 2026: docs.cloud.google.com/tpu/docs/{v4, v5e, v5p, v6e}, "System architecture". The links of
v4 are from Jouppi et al. 2023 (arXiv:2304.01433): six of 50 GB/s. The others' pages give a chip's bandwidth both ways
over all of its links; a link one way is that divided by twice their number. The network between slices: v5e has 2 x 100
Gbit/s a host of 8 chips, v5p 50 Gbit/s a chip.
"""

from __future__ import annotations

import dataclasses
import math

from t5x_lite.errors import InputError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip's published peaks.

    memory: bytes of HBM. usable: how much of it the compiler gives to a program (libtpu 0.0.52 says so when one does
      not fit); the rest is the system's.
    flops: bfloat16 operations a second. memory_bandwidth: bytes a second from and to HBM.
    link_bandwidth: bytes a second over one link, one way. network_bandwidth: bytes a second that a chip can send to
      another slice, over the data centre's network; None where none is published.
    ring: from this size on, and if it is a multiple of `ring_multiple`, an axis of a slice can be a ring (links wrap
      around), and both directions carry traffic.
    """

    name: str
    memory: int
    usable: int
    flops: float
    memory_bandwidth: float
    link_bandwidth: float
    network_bandwidth: float | None
    ring: int
    ring_multiple: int

    def axis_bandwidth(self, devices: int) -> float:
        """Bytes a second that a device can send along a mesh axis of so many devices (laid over one torus axis)."""
        wraps = devices >= self.ring and devices % self.ring_multiple == 0
        return self.link_bandwidth * (2 if wraps else 1)


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 32 * GIB, int(30.75 * GIB), 275e12, 1200e9, 50e9, None, ring=4, ring_multiple=4),
        Chip(
            "v5e",
            16 * GIB,
            int(15.75 * GIB),
            197e12,
            819e9,
            50e9,
            3.125e9,
            ring=16,
            ring_multiple=16,
        ),
        Chip(
            "v5p", 95 * GIB, int(95.0 * GIB), 459e12, 2765e9, 100e9, 6.25e9, ring=4, ring_multiple=4
        ),
        Chip(
            "v6e",
            32 * GIB,
            int(31.24 * GIB),
            918e12,
            1638e9,
            100e9,
            None,
            ring=16,
            ring_multiple=16,
        ),
    )
}
CPU = "cpu"


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice by its name, or several of them. chip: None for CPU devices ("cpu:8")."""

    name: str
    chip: Chip | None
    shape: tuple[int, ...]
    slices: int

    @property
    def chips(self) -> int:
        """How many there are, of all slices."""
        return math.prod(self.shape) * self.slices

    def __str__(self) -> str:
        several = f"{self.slices} slices of " if self.slices > 1 else ""
        return f"{several}{self.name}"


def topology_of(name: str, slices: int = 1) -> Topology:
    """Reads "v5e:16x16", "v5p:4x4x4" or "cpu:8".

    Raises:
      InputError: it is not of that form.

    >>> topology_of("v5p:4x4x4").chips
    64
    """
    generation, _, size = name.partition(":")
    parts = size.split("x")
    known = (*CHIPS, CPU)
    if generation not in known or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(
            f"config.topology: expected a generation ({', '.join(known)}) and its size in chips, such as v5e:4x4,"
            f" v5p:4x4x4 or cpu:8, got {name!r}"
        )
    return Topology(name, CHIPS.get(generation), tuple(map(int, parts)), slices)
