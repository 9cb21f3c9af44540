"""Flags and dispatch, nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from t5x_lite import console
from t5x_lite.config import check_config, find_config_file
from t5x_lite.errors import InputError, Stopped

USAGE = """\
t5x-lite --config FILE.py[:ARGUMENT] --workdir DIRECTORY [--config.any.field=value ...]

Runs the experiment that a config describes. What it leaves in DIRECTORY: config.json, metrics.jsonl, report.json,
report.md, report.html, samples.jsonl, TensorBoard events, checkpoints/. The same command again goes on where a stopped
run was.

  --config FILE.py           a config file, or the name of one that ships with the package
  --config FILE.py:runlocal  the same experiment in seconds: a tiny model on bundled data
  --config.FIELD=VALUE       changes any field, e.g. --config.schedule.learning_rate=1e-4
  --workdir DIRECTORY        where the run's files go (local or gs://)
  --help                     this text
"""


def _parse(arguments: Sequence[str]) -> Any:
    """The parsed flags: .config (locked) and .workdir.

    Raises:
      InputError: a flag, config file or config field that does not exist, or a value of the wrong type.
    """
    resolved = list(arguments)
    for i, argument in enumerate(resolved):
        if argument == "--config" and i + 1 < len(resolved):
            resolved[i : i + 2] = [f"--config={resolved[i + 1]}", ""]
    resolved = [argument for argument in resolved if argument]
    for i, argument in enumerate(resolved):
        if argument.startswith("--config="):
            name, colon, rest = argument.removeprefix("--config=").partition(":")
            resolved[i] = f"--config={find_config_file(name)}{colon}{rest}"
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True)
    flags.DEFINE_string("workdir", None, "where the run's files go", flag_values=values)
    try:
        rest = values(["t5x-lite", *resolved])[1:]
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if rest:
        raise InputError(f"{rest[0]} is not a flag; see t5x-lite --help")
    for flag in ("config", "workdir"):
        if getattr(values, flag) is None:
            raise InputError(f"--{flag} is missing; see t5x-lite --help")
    return values


def run() -> None:
    """The program `t5x-lite`: exit status 0; 2 for bad input (one line says what to do); 130 and 143 when stopped."""
    arguments = sys.argv[1:]
    if not arguments or {"--help", "-h", "-help"} & set(arguments):
        sys.stdout.write(USAGE)
        return
    console.setup()
    try:
        values = _parse(arguments)
        check_config(values.config)
        task = importlib.import_module(f"t5x_lite.tasks.{values.config.task}")
        task.run(values.config, os.path.expanduser(values.workdir))
    except InputError as error:
        sys.stderr.write(f"t5x-lite: {error}\n")
        sys.exit(2)
    except Stopped as stopped:
        sys.stderr.write(f"t5x-lite: {stopped}\n")
        sys.exit(128 + stopped.signal_number)
    except KeyboardInterrupt:
        sys.stderr.write("t5x-lite: stopped; the same command goes on from the last checkpoint\n")
        sys.exit(130)
