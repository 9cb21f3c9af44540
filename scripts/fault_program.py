"""The program as fault_runs.py starts it: forked from a server that has imported this module, and what it imports."""

from __future__ import annotations

import importlib
import os
import sys

import t5x_lite.main

# What imports without starting threads, which a fork would lose. Not the task `prompt`: bm25s computes something with
# jax as it is imported, and so starts its backend.
_BEFORE = (
    "jax flax.linen optax tensorstore orbax.checkpoint grain pyarrow datasets transformers matplotlib.pyplot evaluate"
    " t5x_lite.wiring.lock"
).split()
_TASKS = "finetune dpo classifier reward pretrain ppo evaluate".split()

for _module in (*_BEFORE, *(f"t5x_lite.tasks.{task}.run" for task in _TASKS)):
    importlib.import_module(_module)


def main(arguments: list[str], errors: str) -> None:
    """Runs the program with these flags. errors: the pipe that its output goes to."""
    file = os.open(errors, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["t5x-lite", *arguments]
    t5x_lite.main.run()
