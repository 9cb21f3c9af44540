"""From what a program does to the time that it cannot beat: an estimate, no measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from t5x_lite.pods.chips import Chip
from t5x_lite.pods.hlo import Account


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds that the parts of a step take at the chip's published peaks.

    compute: of the matrix products. memory: of the bytes from and to HBM. links: of the bytes over the links of each
      mesh axis ("data+fsdp": collectives over both at once, which are charged to the slower of the two).
    """

    compute: float
    memory: float
    links: Mapping[str, float]

    @property
    def at_best(self) -> float:
        """All parts at the same time: the slowest decides. Axes have links of their own."""
        return max(self.compute, self.memory, *self.links.values(), 0.0)

    @property
    def at_worst(self) -> float:
        """One part after the other, each at its peak."""
        return max(self.compute, self.memory) + sum(self.links.values())

    @property
    def bound_by(self) -> str:
        """The slowest part."""
        parts = {"compute": self.compute, "HBM": self.memory}
        parts |= {f"links of {axes}": seconds for axes, seconds in self.links.items()}
        return max(parts, key=lambda name: parts[name])


def roofline(
    account: Account, chip: Chip, axes: Mapping[str, int], slow_axis: str | None = None
) -> Roofline:
    """The roofline of a program on this chip.

    axes: the mesh's, with their sizes. slow_axis: the one that goes from slice to slice; where the bandwidth between
      them is not published, its collectives have no part.
    """
    links: dict[str, float] = {}
    for (over, _), sent in account.sent().items():
        bandwidth: float | None = min(chip.axis_bandwidth(axes[axis]) for axis in over)
        if slow_axis in over:
            bandwidth = chip.network_bandwidth
        if bandwidth is not None:
            name = "+".join(over)
            links[name] = links.get(name, 0.0) + sent / bandwidth
    return Roofline(account.flops / chip.flops, account.hbm_bytes / chip.memory_bandwidth, links)
