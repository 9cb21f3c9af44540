"""Which checkpoints are kept: the last ones, those of every so-manieth step, and the best by an evaluation's number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from orbax.checkpoint import checkpoint_managers

from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import from_process_zero

METADATA = "metadata"


class Best:
    """orbax's policy that keeps the best: of steps whose number is finite, ties to the later one.

    orbax itself forgets the numbers of checkpoints that an earlier process wrote: they are read from their metadata.

    metric: an entry of `metadata["metrics"]`. count: how many are kept. mode: "max" or "min".
    """

    def __init__(self, directory: epath.Path, metric: str, mode: str, count: int):
        self._metric, self._count = metric, count
        self._sign = 1.0 if mode == "max" else -1.0
        found = from_process_zero(lambda: _metrics_of(directory, metric))
        self._scores = {int(step): float(value) for step, value in found.items()}

    def note(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes down what was found at a step; {}: it was not evaluated.

        Raises:
          InputError: there are numbers, and none of them is `metric`.
        """
        if metrics and self._metric not in metrics:
            raise InputError(
                f"config.checkpoint.best_metric {self._metric!r}: no evaluation has it; there are"
                f" {', '.join(sorted(metrics))}"
            )
        self._scores.pop(step, None)
        if metrics and math.isfinite(metrics[self._metric]):
            self._scores[step] = float(metrics[self._metric])

    def ranked(self, steps: Sequence[int]) -> list[int]:
        """Those of these steps that were evaluated, the best last."""
        known = [step for step in steps if step in self._scores]
        return sorted(known, key=lambda step: (self._sign * self._scores[step], step))

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """For each checkpoint whether it is among the best of them."""
        best = self.ranked([info.step for info in checkpoints])[-self._count :]
        return [info.step in best for info in checkpoints]


def policy(keep: int, keep_every: int, best: Best | None) -> Any:
    """orbax's policy that keeps the newest `keep`, those of every `keep_every`-th step (0: none), and the best."""
    policies: list[Any] = [checkpoint_managers.LatestN(keep)]
    if keep_every:
        policies.append(checkpoint_managers.EveryNSteps(keep_every))
    if best is not None:
        policies.append(best)
    return checkpoint_managers.AnyPreservationPolicy(policies)


def _metrics_of(directory: epath.Path, metric: str) -> dict[str, float]:
    """Step -> what its checkpoint was found to have, as far as that can be read and is finite."""
    found = {}
    for path in directory.iterdir() if directory.exists() else ():
        if not path.name.isdecimal():
            continue
        try:
            value = float(json.loads((path / METADATA / METADATA).read_text())["metrics"][metric])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if math.isfinite(value):
            found[path.name] = value
    return found
