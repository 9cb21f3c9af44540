"""Which settings of a step fit a slice, and which of those promise the most rows a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.rules import SLOW_AXIS
from t5x_lite.pods.chips import Topology
from t5x_lite.tasks.pod_check.compile import Check, check, held_bytes
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.tasks.pod_check.steps import PPO_STEPS


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Settings that were tried.

    batch: the values of the fields that say how many rows a step has, by their names. rows: that many.
    check: None where nothing was compiled, for the reason in `note`. too_large: they do not fit.
    """

    remat: str
    batch: Mapping[str, int]
    rows: int
    sizes: Mapping[str, int]
    check: Check | None
    note: str
    too_large: bool = False

    @property
    def rows_a_second(self) -> float:
        """The estimate; 0 of what does not fit."""
        seconds = self.check.seconds if self.check and self.check.fits else None
        return self.rows / seconds if seconds else 0.0

    @property
    def flags(self) -> str:
        """What to add to the command."""
        mesh = {f"mesh.{axis}": size for axis, size in self.sizes.items()}
        fields = {"model.remat": self.remat, **self.batch, **mesh}
        return " ".join(f"--config.{name}={value}" for name, value in fields.items())


def search(config: Config, topology: Topology) -> list[Candidate]:
    """Tries the batch sizes and remats of the `candidates` section with every mesh of the slice; the best comes first.

    Of the remats, which come in the order of what they recompute, the first that fits is taken. What cannot be is not
    compiled: weights and optimizer state that do not fit by themselves, and batches larger than one that did not fit.
    A batch that the mesh or the settings do not divide says nothing of larger ones.
    """
    tried: list[Candidate] = []
    largest = config.candidates.largest_model_axis
    for within in mesh_candidates(topology.chips // topology.slices, largest):
        sizes = {SLOW_AXIS: topology.slices, **within}
        for size in sorted(config.candidates.batch_sizes):
            of_size = []
            for remat in config.candidates.remat:
                of_size.append(_try(config, topology, remat, size, sizes))
                log.info("%s: %s", of_size[-1].flags, of_size[-1].note)
                if of_size[-1].rows_a_second or of_size[-1].check is None:
                    break  # it fits, or no remat can help
            tried += of_size
            if of_size[0].too_large and not of_size[-1].rows_a_second:
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
    config: Config, topology: Topology, remat: str, size: int, sizes: Mapping[str, int]
) -> Candidate:
    """size: rows of the batch; of PPO, prompts of a step."""
    if config.step in PPO_STEPS:
        batch, rows = {"ppo.prompts": size}, size * config.ppo.samples_per_prompt
    else:
        batch, rows = {"batch.size": size}, size
    untried = Candidate(remat, batch, rows, sizes, None, "")
    try:
        changed = dataclasses.replace(
            config, model=dataclasses.replace(config.model, remat=remat), **_changed(config, batch)
        )
        held = held_bytes(changed, topology, sizes)
        if topology.chip is not None and held > topology.chip.usable:
            note = f"does not fit: {held / 2**30:.1f} GiB of weights and state alone"
            return dataclasses.replace(untried, note=note, too_large=True)
        found = check(changed, topology, sizes)
    except InputError as error:
        return dataclasses.replace(untried, note=str(error))
    verdict = {True: "fits", False: "does not fit", None: "unknown"}[found.fits]
    note = f"{verdict}: {found.memory / 2**30:.2f} GiB"
    return Candidate(remat, batch, rows, sizes, found, note, found.fits is False)


def _changed(config: Config, batch: Mapping[str, int]) -> dict[str, Any]:
    """The sections of a config in which the fields "section.field" have other values."""
    changed = {}
    for name, value in batch.items():
        section, _, field = name.partition(".")
        changed[section] = dataclasses.replace(getattr(config, section), **{field: value})
    return changed


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first that fits."""
    return next((one for one in candidates if one.rows_a_second), None)
