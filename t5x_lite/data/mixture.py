"""A mixture of example sources: several tasks in one plan, each with its share of the examples.

Source: Raffel et al. 2020, section 3.5.2 (examples-proportional and temperature-scaled mixing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from t5x_lite.data.features import ExampleSource
from t5x_lite.errors import InputError


def temperature_rates(
    sizes: Mapping[str, int], *, temperature: float, maximum: int
) -> dict[str, float]:
    """{task: rate}, summing to 1: proportional to min(size, maximum) ** (1 / temperature).

    >>> temperature_rates({"a": 400, "b": 100}, temperature=2.0, maximum=0)
    {'a': 0.6666666666666666, 'b': 0.3333333333333333}

    Args:
      sizes: examples of each task.
      temperature: 1 mixes in proportion to the sizes, a high one equally.
      maximum: the artificial limit on a task's size; 0 = none.
    """
    weights = {
        name: min(size, maximum or size) ** (1 / temperature) for name, size in sizes.items()
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


class Mixture:
    """An `ExampleSource`: each source's examples in turn, repeated until it has its share.

    An epoch of the mixture is the shortest one in which every source shows all its examples at least once. A source
    that must be shown k times in it is asked for epochs k * epoch, ..., k * epoch + k - 1 of its own, so that what it
    draws anew (span corruption) is new each time.

    Args:
      sources: by name, none empty.
      rates: the share of each source, above 0; only their ratios matter.

    Raises:
      InputError: no sources, an empty one, or rates that are not above 0 or not of these sources.
    """

    def __init__(self, sources: Mapping[str, ExampleSource], rates: Mapping[str, float]):
        if not sources:
            raise InputError("data.tasks: a mixture needs at least one task with a rate above 0")
        sizes = {name: len(source.encoder_lengths) for name, source in sources.items()}
        for name, size in sizes.items():
            if not size:
                raise InputError(f"data.tasks.{name}: there are no examples to mix")
            if not rates.get(name, 0.0) > 0 or not math.isfinite(rates[name]):
                raise InputError(
                    f"data.tasks.{name}: its rate must be above 0, got {rates.get(name)}"
                )
        if extra := sorted(set(rates) - set(sources)):
            raise InputError(
                f"data.tasks: rates of {', '.join(extra)}, which are not in the mixture"
            )
        scale = max(sizes[name] / rates[name] for name in sources)
        self.names = tuple(sources)
        self.shown = {name: max(sizes[name], round(rates[name] * scale)) for name in sources}
        self._sources = tuple(sources.values())
        self._repeats = tuple(-(-self.shown[name] // sizes[name]) for name in sources)
        which, index, repeat = [], [], []
        for number, name in enumerate(sources):
            order = np.arange(self.shown[name])
            which.append(np.full(len(order), number, np.int32))
            index.append(order % sizes[name])
            repeat.append(order // sizes[name])
        self._which = np.concatenate(which)
        self._index = np.concatenate(index)
        self._repeat = np.concatenate(repeat)
        self.encoder_lengths = self._pick([s.encoder_lengths for s in self._sources])
        self.decoder_lengths = self._pick([s.decoder_lengths for s in self._sources])

    def __len__(self) -> int:
        return len(self._which)

    def name_of(self, index: int) -> str:
        """The source that the example comes from."""
        return self.names[self._which[index]]

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(encoder_input_tokens, decoder_target_tokens) of that example in that epoch."""
        number = self._which[index]
        own_epoch = epoch * self._repeats[number] + int(self._repeat[index])
        return self._sources[number].example(int(self._index[index]), own_epoch)

    def _pick(self, lengths: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(
            [
                np.asarray(of_source)[self._index[self._which == number]]
                for number, of_source in enumerate(lengths)
            ]
        )
