#!/usr/bin/env python
"""Disturbs real runs of the program, starts the same command again, and compares what comes out.

    python scripts/fault_injection.py                              # all: about two hours on two cores
    python scripts/fault_injection.py --quick                      # a handful, under a minute
    python scripts/fault_injection.py --tasks ppo --kills 5        # some of them
    python scripts/fault_injection.py --processes 2 --tasks finetune

Each task runs once undisturbed. Then it is killed, stopped, left without disk, its files are damaged; after each fault
the same command must end with status 0 and leave the same: every array of the last checkpoint, the model, metrics,
samples, predictions and scores, bit for bit, times apart. The faulted process must end with the status that
docs/stops.md says. All processes share compiled programs and compile without most optimizations, for speed.

What was tried is kept in OUT/tried.jsonl: the same command goes on with what is left. The table is OUT/table.md, and
the exit status is 1 if anything was not as promised. Where filesystems may not be mounted (no root), two faults of
disks are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import fault_cases
from fault_runs import Trial, differences, left_by, prepare

_ATTEMPTS = 6  # at a fault that came too late


def main() -> int:
    options = _options()
    prepare(options.out / "compiled")
    options.out.mkdir(parents=True, exist_ok=True)
    journal = options.out / "tried.jsonl"
    if options.quick:
        shutil.rmtree(options.out / "runs", ignore_errors=True)
        journal.unlink(missing_ok=True)
    rows = _read(journal)
    for task in options.tasks:
        wanted = [one for one in _plan(options, task) if _left(one, rows)]
        if not wanted:
            continue
        span, expected = _undisturbed(options, task)
        for fault, number, _ in wanted:
            if fault.__name__ == "killed" and _count(rows, task, "killed") >= options.kills:
                continue
            fresh = _tried(options, task, fault, number, (span, expected))
            with journal.open("a") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in fresh)
            rows += fresh
            for row in fresh:
                print(_line(row), flush=True)
    (options.out / "table.md").write_text(_table(rows))
    print(_table(rows))
    return int(any(row["verdict"] not in ("same", "not tried") for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/faults"))
    parser.add_argument("--tasks", nargs="+", default=[], choices=fault_cases.TASKS)
    parser.add_argument(
        "--kills", type=int, default=20, help="kill -9 at so many points of each task"
    )
    parser.add_argument("--processes", type=int, default=1, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--quick", action="store_true", help="a handful, on fine-tuning")
    options = parser.parse_args()
    options.out = options.out.resolve()
    everything = fault_cases.TASKS if options.processes == 1 else ("finetune", "ppo")
    options.tasks = options.tasks or (["finetune"] if options.quick else everything)
    return options


Planned = tuple[fault_cases.Fault, int, str]


def _plan(options: argparse.Namespace, task: str) -> Iterator[Planned]:
    """(fault, number, task) of all that is done to a task."""
    if options.quick:
        names = ("killed", "damaged_file", "second_run")
        for name in names:
            yield getattr(fault_cases, name), 0, task
        return
    kills = range(options.kills)  # more than needed: of a trial up to three land
    if options.processes > 1:
        yield from ((fault_cases.killed, number, task) for number in kills)
        for fault in fault_cases.OF_SEVERAL_PROCESSES[1:]:
            yield from ((fault, number, task) for number in range(2))
        return
    if task in fault_cases.TRAINING:
        for fault in fault_cases.WHILE_TRAINING:
            yield fault, 0, task
    if task == "finetune":
        for fault in fault_cases.ONCE:
            yield from ((fault, number, task) for number in range(2))
    yield from ((fault_cases.killed, number, task) for number in kills)


def _left(planned: Planned, rows: list[dict[str, Any]]) -> bool:
    fault, number, task = planned
    done = {(row["task"], row["fault"], row["number"]) for row in rows}
    return (task, fault.__name__, number) not in done


def _count(rows: list[dict[str, Any]], task: str, fault: str) -> int:
    return sum(row["task"] == task and row["fault"] == fault for row in rows)


def _undisturbed(options: argparse.Namespace, task: str) -> tuple[float, dict[str, Any]]:
    """The seconds that the run takes once all is compiled, and what it leaves.

    Raises:
      RuntimeError: it fails, or two such runs differ.
    """
    found = []
    for name in ("first", "second"):
        folder = options.out / "runs" / task / name
        shutil.rmtree(folder, ignore_errors=True)
        trial = Trial(fault_cases.command_of(task), folder, "", processes=options.processes)
        programs = trial.start()
        trial.locked(programs)
        begun = time.monotonic()
        statuses = [program.wait() for program in programs]
        span = time.monotonic() - begun
        if any(statuses):
            raise RuntimeError(f"{task} undisturbed ended with {statuses}: {programs[0].said()}")
        found.append(left_by(folder))
        if options.quick:
            break
    if different := differences(found[0], found[-1]):
        raise RuntimeError(f"{task}: two undisturbed runs differ in {different[:5]}")
    return span, found[0]


def _tried(
    options: argparse.Namespace,
    task: str,
    fault: fault_cases.Fault,
    number: int,
    undisturbed: tuple[float, dict[str, Any]],
) -> list[dict[str, Any]]:
    """A row for each fault that landed in one workdir, with what the same command made of it."""
    span, expected = undisturbed
    folder = options.out / "runs" / task / f"{fault.__name__}.{number}"
    row = {"task": task, "fault": fault.__name__, "number": number, "processes": options.processes}
    for attempt in range(_ATTEMPTS):
        for path in folder.parent.glob(f"{folder.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        seed = f"{options.seed} {task} {fault.__name__} {number} {attempt}"
        trial = Trial(
            fault_cases.command_of(task), folder, seed, span=span, processes=options.processes
        )
        try:
            struck = list(fault(trial))
        except fault_cases.TooLate:
            continue
        except PermissionError:
            return [row | {"moment": "", "statuses": [], "verdict": "not tried"}]
        if struck:
            break
    else:
        return [row | {"moment": "came too late each time", "statuses": [], "verdict": "not tried"}]
    again = trial.start()
    ends = [program.wait() for program in again]
    verdict = _verdict(trial, struck, ends, again[0].said(), expected)
    if verdict == "same":
        shutil.rmtree(folder)
    return [
        row | {"moment": one.moment, "statuses": list(one.statuses), "verdict": verdict}
        for one in struck
    ]


def _verdict(
    trial: Trial,
    struck: list[fault_cases.Struck],
    ends: list[int],
    said: str,
    expected: dict[str, Any],
) -> str:
    """ "same", or what was not as promised."""
    for one in struck:
        if list(one.statuses) != list(one.expected):
            return f"ended with {one.statuses}, not {one.expected}"
    if any(ends):
        return f"the same command ended with {ends}: {said.strip().splitlines()[-1:]}"
    for file in trial.folder.parent.glob(f"{trial.folder.name}.errors.*"):
        if "Traceback" in file.read_text(errors="replace"):
            return f"a traceback in {file.name}"
    different = differences(left_by(trial.folder), expected)
    return f"differs in {', '.join(different[:5])}" if different else "same"


def _read(journal: pathlib.Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['task']:<11}{row['fault']:<20}{row['moment']:<50}{row['statuses']}  {row['verdict']}"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """A line for each task and fault: how many landed, the statuses, and how many ended as the undisturbed run."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["fault"]), []).append(row)
    landed = [row for row in rows if row["verdict"] != "not tried"]
    same = sum(row["verdict"] == "same" for row in landed)
    lines = [
        f"{len(landed)} faults on {os.cpu_count()} cores, {same} of them without any trace in the result.",
        "",
        "| task | fault | times | statuses | as undisturbed |",
        "|---|---|---|---|---|",
    ]
    for (task, fault), of_it in groups.items():
        statuses = Counter(" and ".join(map(str, row["statuses"])) for row in of_it)
        good = sum(row["verdict"] == "same" for row in of_it)
        tried = sum(row["verdict"] != "not tried" for row in of_it)
        what = (getattr(fault_cases, fault).__doc__ or "").split("\n")[0].split(":")[0].rstrip(".")
        lines.append(
            f"| {task} | {what} | {tried} | {', '.join(statuses)} | {good if tried else 'not tried'} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
