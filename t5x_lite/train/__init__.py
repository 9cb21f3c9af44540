"""State, one pure train step, one loop shared by all supervised tasks.

`t5x_lite.train("lora.py", {"train.steps": 20}, workdir="runs/lora")` trains: the function is `t5x_lite.runs.train`, and
this package, which has its name, can be called in its place. `help(t5x_lite.runs.train)` says what it takes and raises.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any


def _function() -> Callable[..., Any]:
    """`t5x_lite.runs.train`, as `t5x_lite` imports whatever needs jax."""
    importlib.import_module("t5x_lite.console").look_for_no_tpu_in_vain()
    return typing.cast(Callable[..., Any], importlib.import_module("t5x_lite.runs").train)


class _Callable(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:  # what help and notebooks show
        return inspect.signature(_function())


sys.modules[__name__].__class__ = _Callable
