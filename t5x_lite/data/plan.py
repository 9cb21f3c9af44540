"""The batch plan: a pure function (seed, step) -> batch, with random access, so that its whole
state is the step.

Every epoch shows each example exactly once. The examples are shuffled, sorted into buckets
(buckets.py) and cut into batches; what a bucket has left over is promoted to the next longer one,
and the last batch is filled up with rows of weight 0. The plan knows nothing of processes: any number
of them sees the same batches, and each may build rows of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from t5x_lite import streams
from t5x_lite.data.buckets import Shape, assign
from t5x_lite.data.features import Batch, Examples, ExampleSource, Ragged, to_batch
from t5x_lite.errors import InputError

# How many of the latest rows first-fit packing still tries: keeps it linear at next to no cost.
_OPEN_ROWS = 1000

# One entry a row of the batch: the examples in it (one; several if packed; none in a filled-up
# row).
Packs = list[np.ndarray]
# How many rows there are -> int [rows]: which of them to build.
Keep = Callable[[int], np.ndarray]


class Plan:
    """Batches of an `ExampleSource` by step. `batch(step)` is pure: resuming needs the step and
    nothing else.

    Args:
      source: the examples.
      shapes: the buckets, growing (`make_shapes`). With `pack` exactly one.
      seed: of the order; None keeps the order of the rows within each bucket (for evaluation).
      pack: put several examples into a row (first fit over the seeded order, the same rows in
        every epoch).
      pad_id: fills rows up.
      decoder_start_id: the first decoder input.

    Raises:
      InputError: no examples, an example longer than the longest shape, or packing with several
        shapes.
    """

    def __init__(
        self,
        source: ExampleSource,
        shapes: Sequence[Shape],
        *,
        seed: int | None,
        pack: bool,
        pad_id: int,
        decoder_start_id: int,
    ):
        self.source = source
        self.shapes = tuple(shapes)
        self.seed = seed
        self.packed = pack
        self._pad_id = pad_id
        self._decoder_start_id = decoder_start_id
        self._lengths = source.encoder_lengths, source.decoder_lengths
        buckets = assign([shape[:2] for shape in self.shapes], *self._lengths)
        if not len(buckets):
            raise InputError("data: there are no examples to make batches of")
        if (too_long := np.flatnonzero(buckets == len(self.shapes))).size:
            first = int(too_long[0])
            raise InputError(
                f"batch.buckets: example {first} has {self._lengths[0][first]} /"
                f" {self._lengths[1][first]} tokens, over"
                f" the longest bucket {tuple(self.shapes[-1][:2])}"
            )
        if pack and len(self.shapes) != 1:
            raise InputError(
                f"batch.pack: packed batches have one shape; there are {len(self.shapes)} buckets"
            )
        if pack:
            self._packs = self._first_fit()
            self._buckets = np.zeros(len(self._packs), int)
        else:
            self._packs = list(np.arange(len(buckets))[:, None])
            self._buckets = buckets
        self._epoch = functools.lru_cache(maxsize=2)(self._plan_epoch)
        self.steps_per_epoch = len(self._epoch(0))

    def batch(
        self, step: int, keep: Keep | None = None, source: ExampleSource | None = None
    ) -> Batch:
        """The global batch of that step, as numpy arrays (keys: `features.to_batch`), or some rows of it.

        keep: says which rows. source: examples to build them of in place of the plan's own, none of them longer.
        """
        epoch, shape, packs = self.rows(step)
        if keep is not None:
            packs = [packs[row] for row in keep(len(packs))]
        return to_batch(
            source or self.source,
            packs,
            epoch=epoch,
            encoder_length=shape.encoder_length,
            decoder_length=shape.decoder_length,
            packed=self.packed,
            pad_id=self._pad_id,
            decoder_start_id=self._decoder_start_id,
        )

    def of(self, source: ExampleSource) -> Plan:
        """The plan of other examples, in the same shapes and order."""
        return Plan(
            source,
            self.shapes,
            seed=self.seed,
            pack=self.packed,
            pad_id=self._pad_id,
            decoder_start_id=self._decoder_start_id,
        )

    def rows(self, step: int) -> tuple[int, Shape, Packs]:
        """(epoch, shape, rows), a row being the indices of the examples in it (none: a filled-up
        row).
        """
        epoch, within = divmod(step, self.steps_per_epoch)
        bucket, numbers = self._epoch(epoch)[within]
        shape = self.shapes[bucket]
        packs = [self._packs[number] for number in numbers]
        packs += [np.zeros(0, int)] * (shape.rows - len(packs))
        return epoch, shape, packs

    def indices(self, step: int) -> np.ndarray:
        """int [rows]: the example in each row, -1 in a filled-up row. Only for plans without
        packing.
        """
        if self.packed:
            raise ValueError("packed rows hold several examples; use rows(step)")
        return np.array([int(pack[0]) if len(pack) else -1 for pack in self.rows(step)[2]])

    def names(self, step: int) -> list[str]:
        """What a message calls the examples in that step's batch (`name_of`)."""
        return [name_of(self.source, int(index)) for pack in self.rows(step)[2] for index in pack]

    def padding(self) -> dict[str, float]:
        """Fractions of an epoch's token slots that are padding, by "encoder" and "decoder"."""
        slots = np.zeros(2)
        for bucket, _ in self._epoch(0):
            shape = self.shapes[bucket]
            slots += [shape.rows * shape.encoder_length, shape.rows * shape.decoder_length]
        used = [int(lengths.sum()) for lengths in self._lengths]
        return {
            name: float(1 - used[i] / slots[i]) for i, name in enumerate(("encoder", "decoder"))
        }

    def _plan_epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """The epoch's batches in order: (bucket, the numbers of its packs)."""
        order = np.arange(len(self._packs))
        rng = None if self.seed is None else streams.generator(self.seed, "shuffle", epoch)
        if rng is not None:
            rng.shuffle(order)
        batches: list[tuple[int, np.ndarray]] = []
        left_over = order[:0]
        for bucket, shape in enumerate(self.shapes):
            # Promoted rows go first: at the end they would be left over again.
            queue = np.concatenate([left_over, order[self._buckets[order] == bucket]])
            last = bucket == len(self.shapes) - 1
            full = len(queue) if last else len(queue) // shape.rows * shape.rows
            batches += [
                (bucket, queue[at : min(at + shape.rows, full)])
                for at in range(0, full, shape.rows)
            ]
            left_over = queue[full:]
        if rng is not None:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def _first_fit(self) -> Packs:
        """Greedy first fit: each example goes into the first row that still has room for it."""
        order = np.arange(len(self._lengths[0]))
        if self.seed is not None:
            streams.generator(self.seed, "packing").shuffle(order)
        room = np.zeros((len(order), 2), np.int64)  # tokens left in each open row: encoder, decoder
        packs: list[list[int]] = []
        for index in order:
            need = np.array([lengths[index] for lengths in self._lengths])
            first = max(0, len(packs) - _OPEN_ROWS)
            fits = (room[first : len(packs)] >= need).all(axis=1)
            if fits.any():
                at = first + int(fits.argmax())
                packs[at].append(int(index))
            else:
                at = len(packs)
                packs.append([int(index)])
                room[at] = self.shapes[0][:2]
            room[at] -= need
        return [np.array(pack) for pack in packs]


def distinct_inputs(plan: Plan) -> tuple[Plan, list[np.ndarray]]:
    """(the plan of one example for each encoder input of `plan`, the examples of `plan` that have it, by number).

    Several references of one text have one input, from which nothing need be generated twice.
    """
    source, rows_of = plan.source, dict[bytes, list[int]]()
    for row in range(len(source.encoder_lengths)):
        rows_of.setdefault(source.example(row, 0)[0].tobytes(), []).append(row)
    groups = [np.array(rows) for rows in rows_of.values()]
    if len(groups) == len(source.encoder_lengths):
        return plan, groups
    firsts = [source.example(int(rows[0]), 0) for rows in groups]
    inputs, targets = (Ragged.from_lists(side) for side in zip(*firsts, strict=True))
    return plan.of(Examples(inputs, targets)), groups


def name_of(source: object, index: int) -> str:
    """What a message calls an example: the id of its row, or where its source knows none, its number from 0."""
    ids = getattr(source, "ids", ())
    return str(ids[index]) if ids else f"number {index}"
