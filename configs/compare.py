"""Runs side by side: ROUGE of what each wrote for the same rows, and the paired differences to the first.

    t5x-lite --config configs/compare.py:a=runs/quickstart/full,b=runs/quickstart/lora --workdir runs/comparison

The argument names workdirs of finished runs of the tasks finetune, evaluate and prompt (of the latter, each prompt
with each setting is a system), with a name each or without. Only rows that all of them have are scored. Runs of the
task mixture are compared task by task, and with the model that they began from. Hardware: any; seconds. What comes
out: report.md and report.html with one table.
"""

import pathlib

from t5x_lite.recipe import recipe


def get_config(arg=""):
    """arg: workdirs with commas between, "a=runs/a,runs/b"; or "runlocal" (two small runs that ship as an example)."""
    if arg == "runlocal":
        return recipe("compare", {})("runlocal")
    pairs = [part.partition("=") for part in arg.split(",") if part]
    runs = [
        (name, folder) if equals else (pathlib.PurePath(name).name, name)
        for name, equals, folder in pairs
    ]
    return recipe("compare", {"runs": tuple(runs)})()
