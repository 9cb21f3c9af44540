"""Runs side by side: ROUGE of what each wrote for the same rows, and the paired differences to the first.

    t5x-lite --config configs/compare.py:a=runs/quickstart/full,b=runs/quickstart/lora --workdir runs/comparison

The argument names workdirs of finished runs of the tasks finetune, evaluate and prompt (of the latter, each prompt
with each setting is a system), with a name each or without. Only rows that all of them have are scored. Runs of the
task mixture are compared task by task, and with the model that they began from. Hardware: any; seconds. What comes
out: report.md and report.html with one table.
"""

import pathlib

import ml_collections

import t5x_lite

EXAMPLES = pathlib.Path(t5x_lite.__file__).parent / "data" / "bundled" / "example_runs"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: workdirs with commas between, "a=runs/a,runs/b"; or "runlocal" (two small runs that ship as an example)."""
    if arg == "runlocal":
        arg = f"greedy={EXAMPLES / 'greedy'},beams={EXAMPLES / 'beams'}"
    runs = []
    for part in arg.split(",") if arg else ():
        name, equals, folder = part.partition("=")
        runs.append((name, folder) if equals else (pathlib.PurePath(part).name, part))
    return ml_collections.ConfigDict(
        {
            "task": "compare",
            "seed": 0,
            # Pairs of a name and a workdir; the others are compared to the first.
            "runs": tuple(runs),
            "evaluation": {"bootstrap_samples": 2000, "samples": 5},
        }
    )
