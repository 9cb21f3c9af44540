"""Which settings of a step fit a slice, and which of those promise the most rows a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.rules import SLOW_AXIS
from t5x_lite.pods.chips import Topology
from t5x_lite.tasks.pod_check.compile import Check, check, held_bytes
from t5x_lite.tasks.pod_check.sections import Config


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Settings that were tried. check: None where they cannot be, for the reason in `note`."""

    remat: str
    rows: int
    sizes: Mapping[str, int]
    check: Check | None
    note: str

    @property
    def rows_a_second(self) -> float:
        """The estimate; 0 of what does not fit."""
        seconds = self.check.seconds if self.check and self.check.fits else None
        return self.rows / seconds if seconds else 0.0

    @property
    def flags(self) -> str:
        """What to add to the command."""
        mesh = " ".join(f"--config.mesh.{axis}={size}" for axis, size in self.sizes.items())
        return f"--config.model.remat={self.remat} --config.batch.size={self.rows} {mesh}"


def search(config: Config, topology: Topology) -> list[Candidate]:
    """Tries the batch sizes and remats of the `candidates` section with every mesh of the slice; the best comes first.

    Of the remats, which come in the order of what they recompute, the first that fits is taken. What cannot be is not
    compiled: weights and optimizer state that do not fit by themselves, and batches larger than one that did not fit.
    """
    tried: list[Candidate] = []
    largest = config.candidates.largest_model_axis
    for within in mesh_candidates(topology.chips // topology.slices, largest):
        sizes = {SLOW_AXIS: topology.slices, **within}
        for rows in sorted(config.candidates.batch_sizes):
            for remat in config.candidates.remat:
                candidate = _try(config, topology, remat, rows, sizes)
                tried.append(candidate)
                log.info("%s: %s", candidate.flags, candidate.note)
                if candidate.rows_a_second or candidate.check is None:
                    break  # it fits, or no remat can help
            if not tried[-1].rows_a_second:
                break
    return sorted(tried, key=lambda one: -one.rows_a_second)


def mesh_candidates(chips: int, largest_model_axis: int) -> Iterator[dict[str, int]]:
    """Meshes of a slice, with powers of two along data and model, and the rest along fsdp.

    >>> [tuple(sizes.values()) for sizes in mesh_candidates(4, 2)]
    [(1, 4, 1), (2, 2, 1), (4, 1, 1), (1, 2, 2), (2, 1, 2)]
    """
    model = 1
    while model <= min(largest_model_axis, chips):
        if chips % model == 0:
            data = 1
            while data <= chips // model:
                if chips // model % data == 0:
                    yield {"data": data, "fsdp": chips // model // data, "model": model}
                data *= 2
        model *= 2


def _try(
    config: Config, topology: Topology, remat: str, rows: int, sizes: Mapping[str, int]
) -> Candidate:
    try:
        changed = dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, remat=remat),
            batch=dataclasses.replace(config.batch, size=rows),
        )
        held = held_bytes(changed, topology, sizes)
        if topology.chip is not None and held > topology.chip.usable:
            note = f"does not fit: {held / 2**30:.1f} GiB of weights and state alone"
            return Candidate(remat, rows, sizes, None, note)
        found = check(changed, topology, sizes)
    except InputError as error:
        return Candidate(remat, rows, sizes, None, str(error))
    verdict = {True: "fits", False: "does not fit", None: "unknown"}[found.fits]
    return Candidate(remat, rows, sizes, found, f"{verdict}: {found.memory / 2**30:.2f} GiB")


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first that fits."""
    return next((one for one in candidates if one.rows_a_second), None)
