"""Batches whose pads count, as those of the course's second lab did: to reproduce its numbers, and for nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Batch
from t5x_lite.data.plan import Keep


class Batches(Protocol):
    """What a run draws from: `Plan`, `Curriculum`, `PairPlan`, `CountedPads`."""

    @property
    def shapes(self) -> Sequence[Shape]:
        """The shapes that its batches have."""

    def batch(self, step: int, keep: Keep | None = None) -> Batch:
        """The global batch of that step, or the rows of it that `keep` says; a pure function."""

    def names(self, step: int) -> list[str]:
        """What a message calls the examples in that step's batch."""


@dataclasses.dataclass(frozen=True)
class CountedPads:
    """The batches of a plan without packing, with the masks left out that keep pads from counting.

    in_loss: the pads behind a target are targets too (labels without -100), after a decoder input that is the padded
      target shifted right. What fills a batch up with empty rows still weighs nothing.
    in_attention: encoder and decoder read the pads behind an input like its tokens (no attention mask).
    """

    batches: Batches
    in_loss: bool
    in_attention: bool

    @property
    def shapes(self) -> Sequence[Shape]:
        """The shapes of the plan's batches."""
        return self.batches.shapes

    def batch(self, step: int, keep: Keep | None = None) -> Batch:
        """The global batch of that step, or the rows of it that `keep` says."""
        batch = dict(self.batches.batch(step, keep))
        if self.in_loss:
            targets, inputs = batch["decoder_target_tokens"], batch["decoder_input_tokens"]
            weights = batch["decoder_loss_weights"]
            filled = weights.any(axis=1, keepdims=True)
            batch["decoder_loss_weights"] = np.broadcast_to(filled, weights.shape).astype(
                weights.dtype
            )
            batch["decoder_input_tokens"] = np.concatenate([inputs[:, :1], targets[:, :-1]], axis=1)
        if self.in_attention:
            batch["encoder_segment_ids"] = np.ones_like(batch["encoder_input_tokens"])
        return batch

    def names(self, step: int) -> list[str]:
        """What a message calls the examples in that step's batch."""
        return self.batches.names(step)
