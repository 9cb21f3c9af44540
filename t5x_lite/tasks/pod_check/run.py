"""Whether a step fits on a TPU slice, and what it costs there: compiled from shapes, without a TPU."""

from __future__ import annotations

from typing import Any

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.pods.chips import topology_of
from t5x_lite.pods.topology import compiler_version, has_tpu_compiler
from t5x_lite.reports.environment import environment
from t5x_lite.reports.outcome import report_run
from t5x_lite.tasks.pod_check.compile import check
from t5x_lite.tasks.pod_check.report import checked_sections, search_sections, verdict
from t5x_lite.tasks.pod_check.search import best, search
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task."""
    if config.mesh.slice < 1:
        raise InputError("config.mesh.slice: say how many slices of config.topology there are")
    topology = topology_of(config.topology, config.mesh.slice)
    if config.search and (topology.chip is None or not has_tpu_compiler()):
        raise InputError(
            "config.search: only a TPU's compiler knows what fits; name a TPU slice, and pip install 't5x-lite[pods]'"
        )
    folder = open_workdir(workdir, config)
    sections: dict[str, Any] = {}
    if config.search:
        candidates = search(config, topology)
        sections = search_sections(candidates)
        first = best(candidates)
        found = first.check if first else None
        log.info("best: %s", sections["best"])
    else:
        found = check(config, topology, config.mesh.sizes())
    claim_workdir(folder, config)
    summary = f"The step {config.step!r} on {topology}: nothing that was tried fits."
    if found is not None:
        sections = checked_sections(found, config) | sections
        summary = f"The step {config.step!r}: {verdict(found)}."
    log.info("%s", summary)
    if found is not None and found.seconds and found.utilization:
        log.info(
            "an estimate: %.3g s a step at best, %.0f %% of the chips' peak",
            found.seconds,
            100 * found.utilization,
        )
    for change in sections.get("what_to_change", ()):
        log.info("to change: %s", change["what"])
    sections |= {
        "summary": summary,
        "environment": environment() | {"libtpu": compiler_version() or "not installed"},
    }
    report_run(config, folder, f"pod check: {config.step} on {topology}", sections)
