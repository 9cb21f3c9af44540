"""A train step whose compiled programs say how much memory they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from t5x_lite.console import log
from t5x_lite.train.loop import shape_of
from t5x_lite.train.state import TrainState
from t5x_lite.train.update import Batch, Metrics

_COUNTED = ("arguments", "outputs", "aliased", "temporaries")
MEMORY_FILE = "memory.json"


class MeasuredStep:
    """Calls a jitted step, compiling it once for each shape of batch, and notes in `file` what the compiler counted.

    `file` is a JSON object {"encoder x decoder x rows": {"arguments", "outputs", "aliased", "temporaries"}}, bytes on
    each device: state, batch and rng as they lie sharded; the new state and metrics, of which `aliased` bytes take the
    place of donated arguments; and activations and buffers at the worst moment. A run that goes on adds to the file it
    left; compilers that do not count leave none.

    Process 0 writes.
    """

    def __init__(self, jitted: Any, file: epath.PathLike, *, begin: bool):
        self._jitted = jitted
        self._file = epath.Path(file)
        self._compiled: dict[tuple[int, ...], Callable[..., Any]] = {}
        if begin and jax.process_index() == 0:
            self._file.unlink(missing_ok=True)

    def __call__(
        self, state: TrainState, batch: Batch, rng: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """The step's result; state and batches must keep their types and shardings."""
        shape = shape_of(batch)
        if shape not in self._compiled:
            compiled = self._jitted.lower(state, batch, rng).compile()
            self._note(shape, compiled.memory_analysis())
            self._compiled[shape] = compiled
        return self._compiled[shape](state, batch, rng)

    def _note(self, shape: tuple[int, ...], memory: Any) -> None:
        if memory is None or jax.process_index() != 0:
            return
        counted = {
            "arguments": memory.argument_size_in_bytes,
            "outputs": memory.output_size_in_bytes,
            "aliased": memory.alias_size_in_bytes,
            "temporaries": memory.temp_size_in_bytes,
        }
        content = read_memory(self._file) | {" x ".join(map(str, shape)): counted}
        fresh = self._file.with_name(self._file.name + ".new")
        fresh.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        fresh.replace(self._file)


def read_memory(file: epath.PathLike) -> dict[str, dict[str, int]]:
    """What `MeasuredStep` noted; {} where there is nothing, or what is there cannot be read: the report says less."""
    path = epath.Path(file)
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes().decode())
        return {
            shape: {name: int(counted[name]) for name in _COUNTED}
            for shape, counted in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s: passed over, it is damaged (%s)", path, type(error).__name__)
        return {}
