"""What a flag that there is not was meant to be."""

from __future__ import annotations

import dataclasses
import difflib

from t5x_lite.commands import FLAGS, WORDS
from t5x_lite.config import fields_meant
from t5x_lite.sections.elsewhere import CALLED_HERE

_AGAIN = "the same command again, which goes on where --workdir is"
_SHOWN = 3


def flags_meant(flag: str, spec: str) -> str:
    """The flags that a flag which there is not may stand for, with "or" between; "" where none comes near.

    spec: the config that was given beside it, "" for none.

    >>> flags_meant("--lr", "finetune.py"), flags_meant("--output_dir", "")
    ('--config.schedule.learning_rate', '--workdir')
    """
    if not flag.startswith("--"):
        if flag.partition(":")[0].endswith(".py"):
            return f"--config {flag}"
        return "".join(difflib.get_close_matches(flag, WORDS, n=1))
    name = flag.lstrip("-").replace("-", "_")
    if close := difflib.get_close_matches(f"--{name}", FLAGS, n=1, cutoff=0.8):
        return close[0]
    if name in ("output_dir", "out", "outdir"):
        return "--workdir"
    if name in ("resume", "resume_from_checkpoint"):
        return _AGAIN
    if name in _generation_settings():
        return f"--config.generation.{name}"
    fields = [CALLED_HERE[name]] if name in CALLED_HERE else fields_meant(spec, name)
    return " or ".join(f"--config.{field}" for field in fields[:_SHOWN])


def _generation_settings() -> set[str]:
    from t5x_lite.decoding.settings import GenerationSettings  # needs numpy

    return {field.name for field in dataclasses.fields(GenerationSettings)}
