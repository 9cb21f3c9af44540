"""t5x_lite: prompt, fine-tune and RLHF-tune T5 in JAX.

>>> import t5x_lite as t
>>> t5 = t.load_pretrained("nano")                                                        # doctest: +SKIP
>>> run = t.train("quickstart.py:lora", {"train.steps": 20}, workdir="runs/try")          # doctest: +SKIP
>>> run.model.generate(["..."]), run.metrics[-1], run.report                              # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t5x_lite.api import Pretrained, load_pretrained
    from t5x_lite.config import load_config
    from t5x_lite.decoding.settings import GenerationSettings
    from t5x_lite.embedding.encoder import SentenceEncoder, load_encoder
    from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
    from t5x_lite.runs import Run, evaluate, open_run, ppo, prompt, run, train

# Where each public name is from. Late, so that `import t5x_lite` (and `t5x-lite --help`) does not import jax.
_FROM = {
    **dict.fromkeys(("Diverged", "InputError", "RewardFailed", "Stopped"), "errors"),
    **dict.fromkeys(("Pretrained", "load_pretrained"), "api"),
    **dict.fromkeys(("Run", "evaluate", "open_run", "ppo", "prompt", "run", "train"), "runs"),
    **dict.fromkeys(("SentenceEncoder", "load_encoder"), "embedding.encoder"),
    "GenerationSettings": "decoding.settings",
    "load_config": "config",
}
__all__ = [
    "Diverged", "GenerationSettings", "InputError", "Pretrained", "RewardFailed", "Run", "SentenceEncoder", "Stopped",
    "evaluate", "load_config", "load_encoder", "load_pretrained", "open_run", "ppo", "prompt", "run", "train",
]  # fmt: skip
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 't5x_lite' has no attribute {name!r}")
    if name == "train":  # the package of this name, which can be called
        return importlib.import_module("t5x_lite.train")
    if _FROM[name] in ("api", "runs", "decoding.settings", "embedding.encoder"):
        importlib.import_module("t5x_lite.console").look_for_no_tpu_in_vain()
    return getattr(importlib.import_module(f"t5x_lite.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__"])
