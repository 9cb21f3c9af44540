"""Did my adapter learn? What must hold after a run that trained one, and one paragraph that says whether it does."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from t5x_lite.params.gather import whole
from t5x_lite.params.overview import count
from t5x_lite.params.paths import Params, flatten
from t5x_lite.params.soft_prompts import SOFT_PROMPT

_HASH_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class AdapterCheck:
    """frozen_before, frozen_after: hashes of the frozen weights. frozen: their number.
    norms: of the change of each B matrix (of a soft prompt: of the prompt), by path; all 0 in an adapter that did
      nothing.
    difference: the largest between logits with and without the adapter, on held-out rows.
    loss_without, loss_with: of the held-out rows, nats a token.
    loaded: whether training began with an adapter that was read: "without" is then with that one as it was.
    """

    frozen_before: str
    frozen_after: str
    frozen: int
    norms: dict[str, float]
    difference: float
    loss_without: float
    loss_with: float
    loaded: bool = False

    @property
    def _begin(self) -> str:
        """What the trained adapter is compared with, in words."""
        return "the loaded adapter as it was" if self.loaded else "the base"

    def failures(self) -> list[str]:
        """What does not hold, in words; empty when the adapter learned."""
        dead = [path for path, norm in self.norms.items() if not (math.isfinite(norm) and norm > 0)]
        found = []
        if self.frozen_before != self.frozen_after:
            found.append("the frozen weights are not what they were")
        if dead or not self.norms:
            found.append(
                f"{len(dead)} of {len(self.norms)} trained parts did not move ({', '.join(dead[:3]) or 'none'})"
            )
        if not self.difference > 0:
            found.append(f"the outputs are those of {self._begin}")
        if not self.loss_with < self.loss_without:
            found.append(
                f"the loss on the held-out rows did not fall ({self.loss_without:.4f}"
                f" {'before' if self.loaded else 'without the adapter'}, {self.loss_with:.4f} with it)"
            )
        return found

    def paragraph(self) -> str:
        """For the report."""
        if failures := self.failures():
            return f"The adapter did NOT learn: {'; '.join(failures)}."
        smallest, largest = min(self.norms.values()), max(self.norms.values())
        return (
            f"The adapter learned. The {self.frozen:,} frozen weights are bit for bit what they were (sha256"
            f" {self.frozen_after[:_HASH_SHOWN]}); all {len(self.norms)} trained parts moved (norms from"
            f" {smallest:.3g} to {largest:.3g}); the outputs differ from those of {self._begin} (by up to"
            f" {self.difference:.3g} in a logit); and the loss on the held-out rows fell from"
            f" {self.loss_without:.4f} to {self.loss_with:.4f} nats a token."
        )


def moved_norms(adapters: Params, begin: Params) -> dict[str, float]:
    """Norms of what training changed: of the B matrices (those of a new adapter start at zero), or of a soft prompt.

    begin: the adapters before the first step, on the host.
    """
    before = flatten(begin)
    return {
        path: float(np.linalg.norm((whole(leaf) - np.asarray(before[path])).ravel()))
        for path, leaf in flatten(adapters).items()
        if path.endswith("/lora_b") or path == SOFT_PROMPT
    }


def count_frozen(params: Params, labels: Any, frozen: str) -> int:
    """The number of frozen parameters."""
    of = flatten(labels)
    return count({path: leaf for path, leaf in flatten(params).items() if of[path] == frozen})
