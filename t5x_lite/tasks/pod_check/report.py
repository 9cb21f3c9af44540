"""The sections of a pod check's report."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from t5x_lite.params.sections import NoAdapter
from t5x_lite.pods.chips import GIB
from t5x_lite.pods.compile import device_bytes
from t5x_lite.pods.hlo_text import parse_arrays
from t5x_lite.tasks.pod_check.compile import Check, CheckedProgram
from t5x_lite.tasks.pod_check.search import Candidate, best
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.tasks.pod_check.steps import PPO_STEPS

_LARGEST = 8
_ARRAYS_SHOWN = 3
_MUCH_TRAFFIC = 1.2
_TERA, _GIGA = 1e12, 1e9

ESTIMATE = (
    "an estimate from the chip's published peaks (pods/chips.py has the sources), not a measurement: at best all parts"
    " run at once and the slowest decides, at worst the links wait for the rest; real steps take longer than the first"
)
ON_A_CPU = (
    "libtpu is not installed (or the topology is 'cpu'), so the CPU's compiler stood in. It cannot know: the memory"
    " that a TPU needs (its layouts, its padding, what it keeps on the chip, what it recomputes), which collectives the"
    " TPU's compiler chooses, and bytes from and to HBM. FLOPs, arguments and the kinds of traffic are close to a"
    " TPU's. For the rest: pip install 't5x-lite[pods]' (Linux on x86-64)"
)


def checked_sections(found: Check, config: Config) -> dict[str, Any]:
    """Everything about one checked step."""
    sections: dict[str, Any] = {
        "memory_of_a_chip": [_memory(one) for one in found.programs],
        "rewards_and_judges": [_judge(one) for one in found.programs if one.program.judge],
        "compute": [_compute(one, found.topology.chips) for one in found.programs],
        "links": [row for one in found.programs for row in _links(one)],
        "traffic_of_fsdp": [_fsdp(one) for one in found.programs if one.program.fsdp_minimum],
        "largest_buffers": [row for one in found.programs for row in _largest(one)],
    }
    for name in ("rewards_and_judges", "traffic_of_fsdp"):
        if not sections[name]:
            del sections[name]
    if changes := advice(found, config):
        sections["what_to_change"] = [{"what": change} for change in changes]
    if found.tpu:
        sections["estimate"] = _estimate(found)
    else:
        sections["not_known"] = ON_A_CPU
    return sections


def search_sections(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What was tried, the best first, and the flags of the best."""
    first = best(candidates)
    return {
        "search": [
            {
                "remat": one.remat,
                **one.batch,
                "rows": one.rows,
                **one.sizes,
                "rows/s (estimate)": one.rows_a_second or None,
                "note": one.note,
            }
            for one in candidates
        ],
        "best": first.flags if first else "nothing that was tried fits: take a larger slice",
    }


def verdict(found: Check) -> str:
    """One sentence."""
    where = f"{found.topology} ({found.topology.chips} chips)"
    needed = f"{found.memory / GIB:.2f} GiB a chip"
    if found.chip is None or found.fits is None:
        return f"not known for a TPU; compiled for {found.topology.chips} CPU devices: {needed}"
    of = f"of {found.chip.usable / GIB:.2f} usable ({found.chip.memory // GIB} in all)"
    return f"{'fits' if found.fits else 'DOES NOT FIT'} on {where}: {needed} {of}"


def advice(found: Check, config: Config) -> list[str]:
    """What to change: of a mesh that sends much more than it must, and, what helps most first, where a step does not
    fit. [] where nothing is wrong.
    """
    result = []
    for one in found.programs:
        ratio = one.fsdp_sent / one.program.fsdp_minimum if one.program.fsdp_minimum else 0.0
        if found.tpu and ratio > _MUCH_TRAFFIC:
            result.append(
                f"the {one.program.name} sends {ratio:.2f} times what it must over the fsdp axis: where that is what"
                " bounds the step, lay the weights over fewer chips and the rows over the rest (--config.mesh.data=-1"
                f" --config.mesh.fsdp={max(found.axes['fsdp'] // 4, 1)}), or let --config.search=true try the meshes"
            )
    if found.fits is not False or found.chip is None:
        return result
    held = max(one.compiled.arguments + one.beside for one in found.programs)
    if found.axes["data"] > 1:
        result.append(
            "weights and optimizer state lie whole on each of the data axis's parts: move the data axis into fsdp"
            f" (--config.mesh.data=1 --config.mesh.fsdp=-1); they take {held / GIB:.1f} GiB of a chip now"
        )
    elif held > found.chip.usable / 2:
        chips = math.ceil(held * found.topology.chips / (found.chip.usable / 2))
        result.append(
            f"weights and what is beside them take {held / GIB:.1f} GiB of a chip: take a larger slice; with {chips}"
            " chips they would take half of a chip's memory"
        )
    if config.step == "train":
        stronger = {"none": "dots", "dots": "full"}.get(config.model.remat)
        if stronger:
            result.append(
                f"keep less for the backward pass: --config.model.remat={stronger} (recomputes; a third more work at"
                " most)"
            )
        parts = found.axes["slice"] * found.axes["data"] * found.axes["fsdp"]
        share = parts * config.batch.accumulation
        if config.batch.size > share:
            result.append(
                f"split the batch: --config.batch.accumulation={2 * config.batch.accumulation} (the same result, the"
                " activations of half the rows at a time)"
            )
        if not config.loss.chunk:
            result.append(
                "compute the loss in pieces: --config.loss.chunk=32 (logits of 32 positions at a time)"
            )
        if isinstance(config.adapter, NoAdapter):
            result.append("train an adapter in place of all weights: configs/pod_check.py:lora")
    if config.step in ("generate", "ppo_rollout", "ppo"):
        result.append(
            "generation holds the weights whole but for the model axis: --config.mesh.model larger"
        )
    if config.step in ("ppo_update", "ppo"):
        result.append(
            "fewer rows at a time: --config.ppo.minibatch_size; --config.ppo.logprob_chunk=16"
        )
    rows = "ppo.prompts" if config.step in PPO_STEPS else "batch.size"
    result.append(f"a smaller --config.{rows}, or shorter --config.batch.encoder_length")
    return result


def _memory(one: CheckedProgram) -> dict[str, Any]:
    compiled = one.compiled
    return {
        "program": one.program.name,
        "arguments GiB": compiled.arguments / GIB,
        "temporaries GiB": compiled.temporaries / GIB,
        "new outputs GiB": compiled.outputs / GIB,
        "code GiB": compiled.code / GIB,
        "beside it GiB": one.beside / GIB,
        "total GiB": one.memory / GIB,
        "compiled in s": compiled.seconds,
    }


def _judge(one: CheckedProgram) -> dict[str, Any]:
    """A model of a reward or judge: what its weights take, which lie beside every program of the step."""
    judge = one.program.judge
    assert judge is not None
    return {
        "of": judge.name,
        "source": judge.source,
        "parameters": judge.parameters,
        "weights GiB a chip": device_bytes(judge.params) / GIB,
        "tokens of a text": judge.longest,
        "batches of a step": one.program.times,
    }


def _compute(one: CheckedProgram, chips: int) -> dict[str, Any]:
    model = one.program.model_flops
    return {
        "program": one.program.name,
        "TFLOP a chip": one.account.flops / _TERA,
        "TFLOP of all": one.account.flops * chips / _TERA,
        "the model's own TFLOP": model / _TERA,
        "ratio": one.account.flops * chips / model if model else None,
        "HBM GB a chip": one.account.hbm_bytes / _GIGA,
        "loops of unknown length": one.account.unknown_loops,
    }


def _links(one: CheckedProgram) -> list[dict[str, Any]]:
    rows = []
    for (axes, kind), sent in sorted(one.account.sent().items(), key=lambda item: -item[1]):
        times = sum(c.times for c in one.account.collectives if (c.axes, c.kind) == (axes, kind))
        rows.append(
            {
                "program": one.program.name,
                "mesh axes": "+".join(axes),
                "kind": kind,
                "times": times,
                "GB sent by a chip": sent / _GIGA,
            }
        )
    return rows


def _fsdp(one: CheckedProgram) -> dict[str, Any]:
    """Beside the least that fully sharded training needs."""
    least = one.program.fsdp_minimum or 0.0
    return {
        "program": one.program.name,
        "GB sent by a chip": one.fsdp_sent / _GIGA,
        "the least: weights gathered twice, gradients scattered once": least / _GIGA,
        "ratio": one.fsdp_sent / least,
    }


def _estimate(found: Check) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for one in found.programs:
        if one.roofline is None:
            continue
        lines = one.roofline
        parts[one.program.name] = {
            "times a step": one.program.times,
            "seconds at best": lines.at_best,
            "seconds at worst": lines.at_worst,
            "bound by": lines.bound_by,
            "seconds of compute": lines.compute,
            "seconds of HBM": lines.memory,
            **{f"seconds of links, {axes}": seconds for axes, seconds in lines.links.items()},
        }
    rows = max(one.program.rows for one in found.programs)
    seconds = found.seconds or 0.0
    chip = found.chip
    if found.topology.slices > 1 and chip is not None and chip.network_bandwidth is None:
        parts["not in it"] = "traffic between slices: the bandwidth of a chip is not published"
    return {
        "what this is": ESTIMATE,
        "step seconds (estimate)": seconds,
        "rows a second (estimate)": rows / seconds if seconds else None,
        "utilization (estimate)": found.utilization,
        **parts,
    }


def _largest(one: CheckedProgram) -> list[dict[str, Any]]:
    """The largest places in memory: of the TPU's compiler's own report, else the program's largest arrays."""
    origins = {str(b.array): b.op_name for b in reversed(one.account.buffers) if b.op_name}
    if not one.compiled.largest:
        return [
            {
                "program": one.program.name,
                "GiB": buffer.array.bytes / GIB,
                "arrays": str(buffer.array),
                "from": _short(buffer.op_name),
            }
            for buffer in one.account.largest_buffers(_LARGEST)
        ]
    rows = []
    for size, text in one.compiled.largest[:_LARGEST]:
        arrays = sorted(set(parse_arrays(text)), key=lambda array: -array.bytes)
        rows.append(
            {
                "program": one.program.name,
                "GiB": size / GIB,
                "arrays": ", ".join(map(str, arrays[:_ARRAYS_SHOWN])),
                "from": next((_short(origins[s]) for s in map(str, arrays) if s in origins), ""),
            }
        )
    return rows


def _short(op_name: str) -> str:
    """The end of a path of operations, without what tracing put in: the module and the operation."""
    parts = re.sub(r"\b(jit|jvp|transpose|checkpoint|closed_call|while|body)\b", "", op_name)
    return "/".join([part for part in re.split(r"[/()]+", parts) if part][-4:])
