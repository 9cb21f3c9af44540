"""The slots on the device, seen from the host: what is compiled at the start, who has which slot, what was chosen."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from t5x_lite.api import Pretrained
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import Structure, Values, prepare, structure_of
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.params.side_by_side import side_by_side
from t5x_lite.serving.slots import NEUTRAL, Chosen, Entry, Programs, type_of

# Compilations at the start run side by side: XLA leaves Python alone for most of each.
_COMPILING_AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Row:
    """One output that a slot can generate. values, samples, seed: as `Generator` would have them for it.

    prompt, sample: of the draws: the number of the input in its request, and of the sample among the input's.
    """

    tokens: np.ndarray  # int32 [length]
    values: Values
    samples: bool
    seed: int
    prompt: int
    sample: int
    adapter: int
    with_logprobs: bool


class Engine:
    """Slots for one model and the adapters beside it.

    Args:
      t5: the model. trees: of the adapters, by their numbers; {} is the base alone.
      slots: rows at once. lengths: of inputs, growing: each is padded to one of them, and those of a batch count as one
        of `coarse_lengths`, which end alike. capacity: of outputs.
      execution: how the model is computed.
    """

    def __init__(
        self,
        t5: Pretrained,
        trees: Sequence[Any],
        *,
        slots: int,
        lengths: Sequence[int],
        coarse_lengths: Sequence[int],
        capacity: int,
        execution: Execution,
    ):
        self.slots, self.lengths, self._coarse = slots, tuple(lengths), tuple(coarse_lengths)
        self.capacity = capacity
        self._params = t5.params
        self._adapters = side_by_side(t5.params, trees) if any(trees) else None
        self._pad = t5.config.pad_token_id
        execution = dataclasses.replace(execution, scan_layers=False, remat="none")
        self.structure = slot_structure(t5, capacity)
        self._programs = Programs(T5(t5.config, execution), self.structure, slots, lengths[-1])
        self._rows = tuple(sorted({1, min(max(4, slots // 4), slots), slots}))
        self._put: dict[int, Any] = {}
        self._advance: dict[tuple[int, int], Any] = {}
        self._length_of = np.zeros(slots, np.int32)  # of the input in each slot
        self.compilations = 0
        self.reset()

    def reset(self) -> None:
        """All slots free; also where a failed call has lost what it was given."""
        self._given, self._moving = jax.jit(self._programs.empty)()

    def compile(self) -> None:
        """Compiles all that ever runs."""
        shared = (self._params, self._adapters)
        put = jax.jit(self._programs.put, donate_argnums=(0, 1))
        advance = jax.jit(
            self._programs.advance, static_argnames=("rows", "length"), donate_argnums=0
        )

        def make_put(length: int) -> None:
            one = self._entry(_example(), length)
            lowered = put.lower(self._given, self._moving, *shared, np.int32(0), one)
            self._put[length] = lowered.compile()

        def make_advance(rows: int, length: int) -> None:
            active = np.zeros(self.slots, bool)
            lowered = advance.lower(
                self._moving, self._given, *shared, active, np.int32(1), rows=rows, length=length
            )
            self._advance[rows, length] = lowered.compile()

        tasks = [functools.partial(make_put, length) for length in self.lengths]
        tasks += [
            functools.partial(make_advance, *sizes)
            for sizes in itertools.product(self._rows, self._coarse)
        ]
        with concurrent.futures.ThreadPoolExecutor(_COMPILING_AT_ONCE) as pool:
            for made in [pool.submit(task) for task in tasks]:
                made.result()
                self.compilations += 1

    def join(self, slot: int, row: Row) -> None:
        """Begins a row in a free slot."""
        length = next(n for n in self.lengths if n >= len(row.tokens))
        self._length_of[slot] = length
        self._given, self._moving = self._put[length](
            self._given,
            self._moving,
            self._params,
            self._adapters,
            np.int32(slot),
            self._entry(row, length),
        )

    def advance(self, slots: Sequence[int], count: int) -> Chosen:
        """Chooses up to `count` tokens in these slots; arrays of the host."""
        active = np.zeros(self.slots, bool)
        active[list(slots)] = True
        rows = next(n for n in self._rows if n > max(slots))
        longest = self._length_of[list(slots)].max()
        length = next(n for n in self._coarse if n >= longest)
        self._moving, chosen = self._advance[rows, length](
            self._moving, self._given, self._params, self._adapters, active, np.int32(count)
        )
        return jax.device_get(chosen)

    def _entry(self, row: Row, length: int) -> Entry:
        tokens = np.full((1, length), self._pad, np.int32)
        tokens[0, : len(row.tokens)] = row.tokens
        return Entry(
            tokens=tokens,
            values=row.values,
            samples=np.bool_(row.samples),
            with_logprobs=np.bool_(row.with_logprobs),
            seed=np.int32(row.seed),
            prompt=np.int32(row.prompt),
            sample=np.int32(row.sample),
            adapter=np.int32(row.adapter),
        )


def slot_structure(t5: Pretrained, capacity: int) -> Structure:
    """What all slots have in common: the special tokens of the model's own settings."""
    settings = t5.settings.updated({"max_new_tokens": capacity})
    return _in_slots(structure_of(settings, t5.config), capacity)


def _in_slots(structure: Structure, capacity: int) -> Structure:
    return dataclasses.replace(
        structure, capacity=capacity, do_sample=True, num_beams=1, num_return_sequences=1,
        no_repeat_ngram_size=0, encoder_no_repeat_ngram_size=0,
    )  # fmt: skip


# Settings that take a program of their own, with the value at which they do not.
_ALONE: Mapping[str, Any] = {
    "num_beams": 1, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
}  # fmt: skip


def values_in_slot(
    t5: Pretrained, settings: GenerationSettings, structure: Structure
) -> tuple[Values | None, np.ndarray | None]:
    """The values of a slot for these settings (None where a slot cannot generate with them), and the table of their
    stop strings, which the host reads.

    Raises:
      InputError: settings that do not fit the model.
    """
    asked, values = prepare(settings, t5.config, 1, t5.tokenizer)
    given = {name: getattr(values, name) for name in ("max_new_tokens", *NEUTRAL)}
    others = values._replace(**dict.fromkeys((*given, "stop_table")))
    is_plain = all(getattr(asked, name) == value for name, value in _ALONE.items())
    # Other special tokens are another structure.
    alike = _in_slots(asked, structure.capacity) == structure
    if not (is_plain and alike) or any(value is not None for value in others):
        return None, values.stop_table
    kept = {
        name: np.asarray([NEUTRAL[name]] if value is None else value, type_of(name))
        for name, value in given.items()
    }
    return Values(**kept), values.stop_table


def _example() -> Row:
    """A row whose arrays have the types of all."""
    values = {name: np.asarray([value], type_of(name)) for name, value in NEUTRAL.items()}
    values["max_new_tokens"] = np.ones(1, np.int32)
    return Row(np.zeros(1, np.int32), Values(**values), False, 0, 0, 0, 0, False)
