"""A step's programs compiled for a slice, each with its account."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.parallel.mesh import on_mesh
from t5x_lite.parallel.rules import SLOW_AXIS
from t5x_lite.pods.chips import Chip, Topology
from t5x_lite.pods.compile import Compiled, compile_ahead, device_bytes
from t5x_lite.pods.hlo import Account, account
from t5x_lite.pods.roofline import Roofline, roofline
from t5x_lite.pods.topology import cpu_mesh, has_tpu_compiler, topology_mesh
from t5x_lite.tasks.pod_check import ppo as pod_check_ppo
from t5x_lite.tasks.pod_check import steps as pod_check_steps
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.tasks.pod_check.steps import Program

_PROGRAMS: Mapping[str, Callable[[Config, Mesh], list[Program]]] = {
    pod_check_steps.TRAIN: pod_check_steps.train_programs,
    pod_check_steps.REWARD: pod_check_steps.reward_programs,
    pod_check_steps.GENERATE: pod_check_steps.generate_programs,
    pod_check_steps.PPO_ROLLOUT: pod_check_ppo.rollout_programs,
    pod_check_steps.PPO_UPDATE: pod_check_ppo.update_programs,
    pod_check_steps.PPO: pod_check_ppo.step_programs,
}


@dataclasses.dataclass(frozen=True)
class CheckedProgram:
    """A compiled program. beside: bytes on each device that lie beside it. roofline: None on a CPU."""

    program: Program
    compiled: Compiled
    account: Account
    beside: int
    roofline: Roofline | None

    @property
    def memory(self) -> int:
        """Bytes that a device must hold while it runs."""
        return self.compiled.peak + self.beside

    @property
    def fsdp_sent(self) -> float:
        """Bytes that a device sends over the fsdp axis, alone or with others."""
        sent = self.account.sent().items()
        return sum(value for (axes, _), value in sent if pod_check_steps.FSDP in axes)


@dataclasses.dataclass(frozen=True)
class Check:
    """A checked step. tpu: whether a TPU's compiler said so, or in its place the CPU's."""

    topology: Topology
    tpu: bool
    axes: Mapping[str, int]
    programs: list[CheckedProgram]

    @property
    def chip(self) -> Chip | None:
        """The chip, where a TPU's was asked for."""
        return self.topology.chip

    @property
    def memory(self) -> int:
        """Bytes of HBM at the worst moment."""
        return max(one.memory for one in self.programs)

    @property
    def fits(self) -> bool | None:
        """Whether the step fits; None where no TPU's compiler was asked."""
        if not self.tpu or self.chip is None:
            return None
        refused = any(one.compiled.available is not None for one in self.programs)
        return not refused and self.memory <= self.chip.usable

    @property
    def seconds(self) -> float | None:
        """The estimate of a step's time, at best."""
        parts = [one.program.times * one.roofline.at_best for one in self.programs if one.roofline]
        return sum(parts) if parts else None

    @property
    def utilization(self) -> float | None:
        """The model's own operations in that time, as a share of the chips' peak."""
        if self.chip is None or not self.seconds:
            return None
        peak = self.chip.flops * self.topology.chips
        model_flops = sum(one.program.times * one.program.model_flops for one in self.programs)
        return model_flops / (peak * self.seconds)


def check(config: Config, topology: Topology, sizes: Mapping[str, int]) -> Check:
    """Compiles the step of `config` for a slice.

    sizes: of the mesh's axes, in place of `config.mesh`.

    Raises:
      InputError: no such slice, a mesh that does not fit it, or settings that do not fit the step or the mesh.
    """
    mesh, tpu = _mesh(topology, sizes)
    checked = []
    with on_mesh(mesh):
        for program in _PROGRAMS[config.step](config, mesh):
            compiled = compile_ahead(program.lower, program.arguments, tpu=tpu)
            found = account(
                compiled.text,
                mesh.shape,
                unknown_trips=program.trips,
                slow_axis=(SLOW_AXIS, topology.slices) if topology.slices > 1 else None,
            )
            log.info(
                "%s on %s %s: compiled in %.0f s", program.name, topology,
                tuple(mesh.shape.values()), compiled.seconds,
            )  # fmt: skip
            checked.append(
                CheckedProgram(
                    program,
                    compiled,
                    found,
                    device_bytes(program.beside),
                    _roofline(found, topology, mesh.shape) if tpu else None,
                )
            )
    return Check(topology, tpu, dict(mesh.shape), checked)


def held_bytes(config: Config, topology: Topology, sizes: Mapping[str, int]) -> int:
    """What lies on each device whatever the step does: arguments, and what is beside them. Nothing is compiled.

    Raises:
      InputError: as `check`.
    """
    mesh, _ = _mesh(topology, sizes)
    with on_mesh(mesh):
        programs = _PROGRAMS[config.step](config, mesh)
        return max(device_bytes(one.arguments) + device_bytes(one.beside) for one in programs)


def _roofline(found: Account, topology: Topology, axes: Mapping[str, int]) -> Roofline | None:
    if topology.chip is None:
        return None
    return roofline(found, topology.chip, axes, SLOW_AXIS if topology.slices > 1 else None)


def _mesh(topology: Topology, sizes: Mapping[str, int]) -> tuple[Mesh, bool]:
    """The mesh, and whether it is of a TPU."""
    if topology.chip is not None and has_tpu_compiler():
        return topology_mesh(topology.name, dict(sizes)), True
    return cpu_mesh(topology.chips, dict(sizes)), False
