"""State, one pure train step, one loop shared by all supervised tasks.

`t5x_lite.train("lora.py", {"train.steps": 20}, workdir="runs/lora")` trains: the function is `t5x_lite.runs.train`, and
this package, which has its name, can be called in its place. `help(t5x_lite.runs.train)` says what it takes and raises.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return importlib.import_module("t5x_lite.runs").train(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:  # what help and notebooks show
        return inspect.signature(importlib.import_module("t5x_lite.runs").train)


sys.modules[__name__].__class__ = _Callable
