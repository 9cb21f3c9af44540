"""When a run counts as diverged: by the updates that were skipped, by its weights, and by leaps of its loss.

All is decided from the numbers that the loop reads of each turn anyway, so that it costs a step nothing and several
processes decide alike.
"""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from t5x_lite.errors import Diverged
from t5x_lite.params.paths import flatten
from t5x_lite.train.sections import DivergenceSettings

# The number of the first leaf (in the tree's order) whose gradient was not finite, -1 for none: no metric of a run.
CULPRIT = "culprit"
# Written of a turn whose loss leapt.
SPIKE = "loss_spike"
# Losses before the first one that can be a leap.
_FEWEST = 20
# Nats: what is less is noise, however even the losses before were.
_LEAST_SPIKE = 0.1


class Health(NamedTuple):
    """What a turn's metrics say of it. skipped: its updates that were not applied, of whatever number."""

    skipped: float
    loss: float | None
    param_norm: float
    culprit: int


def health_of(metrics: Mapping[str, float]) -> Health:
    """Of a step's metrics, or of those of a turn of PPO, whose names begin with ppo/."""

    def found(*names: str) -> float | None:
        return next((metrics[name] for name in names if name in metrics), None)

    culprit = found(CULPRIT, f"ppo/{CULPRIT}")
    return Health(
        found("skipped", "ppo/skipped") or 0.0,
        found("loss", "ppo/loss/total"),
        found("param_norm", "ppo/param_norm") or 0.0,
        -1 if culprit is None else int(culprit),
    )


def first_not_finite(state: Any) -> str:
    """The path of the first leaf of a state whose sum of squares is not finite, as that of its norm; "" for none."""
    for path, leaf in flatten(state).items():
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            squares = jnp.sum(jnp.square(jnp.asarray(leaf, jnp.float32)))
            if not bool(jnp.isfinite(squares)):
                return path
    return ""


class DivergenceGuard:
    """Counts what went wrong, and raises `Diverged` by the section `divergence`.

    A turn is bad if an update of it was skipped, or if its loss leapt and leaps count.

    Args:
      saved: `saved()` of the guard that a run is gone on from; {} for a new run.
      afresh: whether the run was rolled back to this point: what went wrong before it no longer counts.
    """

    def __init__(
        self, settings: DivergenceSettings, saved: Mapping[str, Any], *, afresh: bool = False
    ):
        self._settings = settings
        self._turns: int = saved.get("turns", 0)
        self._applied: int = saved.get("applied", 0)
        self._bad: list[int] = [] if afresh else list(saved.get("bad", ()))  # steps in the window
        self._row: list[int] = [] if afresh else list(saved.get("row", ()))  # [first, last] step
        self._leaps: int = 0 if afresh else saved.get("leaps", 0)  # in a row
        self._losses = collections.deque(saved.get("losses", ()), maxlen=settings.window)
        self._evaluated: bool = saved.get("evaluated", True)
        # The path of the tensor of the row's first bad turn, where it is known.
        self._culprit: str = saved.get("culprit", "")

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values: a run that goes on decides as one that never stopped."""
        return {
            "turns": self._turns,
            "applied": self._applied,
            "bad": self._bad,
            "row": self._row,
            "leaps": self._leaps,
            "losses": list(self._losses),
            "evaluated": self._evaluated,
            "culprit": self._culprit,
        }

    @property
    def amid_leaps(self) -> bool:
        """Whether the last turn is a leap that counts: its weights are none to go back to."""
        return bool(self._leaps and self._settings.spikes_count)

    def look(self, step: int, health: Health, tensors: Sequence[str]) -> bool:
        """Looks at a turn; whether its loss leapt. tensors: the paths of the trained leaves, in the tree's order.

        Raises:
          Diverged: the weights have no finite norm, or there were too many bad turns; its `examples` are yet to be
            filled in.
        """
        self._turns += 1
        if not math.isfinite(health.param_norm):
            raise Diverged(step, step, "the update left weights without a finite norm", "")
        leapt = self._leapt(health)
        bad = bool(health.skipped) or (leapt and self._settings.spikes_count)
        if not health.skipped:
            self._applied += 1
        if bad:
            if not self._row:
                known = 0 <= health.culprit < len(tensors)
                self._culprit = tensors[health.culprit] if known else ""
            self._row = [self._row[0] if self._row else step, step]
            self._bad.append(step)
        else:
            self._row = []
        self._bad = [one for one in self._bad if one > step - self._settings.window]
        self._judge(step)
        return leapt

    def evaluation(self, metrics: Mapping[str, float]) -> None:
        """Looks at the evaluation that came last."""
        self._evaluated = math.isfinite(metrics.get("evaluation/loss", 0.0))

    def finish(self, step: int) -> None:
        """Looks at the whole run, which may be too short for the counts.

        Raises:
          Diverged: not one update was applied, or the last evaluation's loss is not finite.
        """
        if self._settings.action == "skip":
            return
        if self._turns and not self._applied:
            first = self._row[0] if self._row else 1
            raise Diverged(
                first, step, f"all of its {self._turns} updates were skipped", self._culprit
            )
        if not self._evaluated:
            raise Diverged(step, step, "the loss of the last evaluation is not finite", "")

    def _judge(self, step: int) -> None:
        settings = self._settings
        if settings.action == "skip" or not self._row:
            return
        in_a_row = self._row[1] - self._row[0] + 1
        what = "were skipped or leapt in loss" if settings.spikes_count else "were skipped"
        reason = ""
        if 0 < settings.in_a_row <= in_a_row:
            reason = f"{in_a_row} updates in a row {what}"
        elif 0 < settings.in_window <= len(self._bad):
            reason = f"{len(self._bad)} of the last {settings.window} updates {what}"
        if reason:
            raise Diverged(self._row[0], step, reason, self._culprit)

    def _leapt(self, health: Health) -> bool:
        """Whether the loss is too far above those before. As many leaps in a row as would end a run are, where they
        do not count, a new level (other data, say).
        """
        loss, known = health.loss, self._losses
        if not self._settings.spike or loss is None or not math.isfinite(loss):
            return False
        far = self._settings.spike * statistics.pstdev(known) if len(known) >= _FEWEST else math.inf
        if len(known) >= _FEWEST and loss - statistics.fmean(known) > max(far, _LEAST_SPIKE):
            self._leaps += 1
            if self._leaps <= max(self._settings.in_a_row, 1):
                return True
            known.clear()
        self._leaps = 0
        if not health.skipped:
            known.append(loss)
        return False
