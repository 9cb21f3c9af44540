"""Flags and dispatch, nothing else."""

from __future__ import annotations

import ast
import dataclasses
import errno
import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from t5x_lite import __version__, console
from t5x_lite.commands import OWN_HELP, WORDS
from t5x_lite.commands.meant import flags_meant
from t5x_lite.config import explain_config, load_config, shipped_configs
from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
from t5x_lite.foreign.visible import one_line
from t5x_lite.parallel.processes import Launch, joined, process_count
from t5x_lite.sections import seconds_of, to_dict
from t5x_lite.train.signals import deadline, leave_at_once

USAGE = """\
t5x-lite --config FILE.py[:ARGUMENT] --workdir DIRECTORY [--config.FIELD=VALUE ...]
t5x-lite WORD ...

Runs the experiment that a config describes. What it leaves in DIRECTORY: config.json, metrics.jsonl, report.json,
report.md, report.html, samples.jsonl, TensorBoard events, model/, checkpoints/. The same command again goes on where a
stopped run was.

  --config FILE.py           a config file, or the name of one that ships with the package
  --config FILE.py:runlocal  the same experiment in seconds: a tiny model on bundled data
  --config.FIELD=VALUE       changes any field, e.g. --config.schedule.learning_rate=1e-4
  --workdir DIRECTORY        where the run's files go
  --print_config             writes every field with its value, its meaning and its origin, and runs nothing
  --dry_run                  reads and checks everything, tells sizes and memory, and compiles and writes nothing
  --version                  the version
  --help                     this text

The words are:

@WORDS@

One process a host; on a TPU pod they find each other, elsewhere these say where they are:

  --coordinator_address HOST:PORT  process 0's host, and a port that is free there
  --num_processes N          how many processes there are
  --process_id K             which one this is, from 0
  --start_seconds 300        how long all wait until the last one is there
  --lost_seconds 30          after how long a silence a process counts as gone, and all end

Configs that ship (each says at its top what it does, on which hardware, and for how long):
"""

_DRY_RUN = "--dry_run"
_START_SECONDS, _LOST_SECONDS = 300.0, 30.0
_LEAVING_SECONDS = 5.0

# Exit statuses, beside 0, and 1 for a fault of the program (docs/stops.md).
_BAD_INPUT, _DIVERGED, _REWARD_FAILED, _STOPPED_IN_TIME = 2, 3, 4, 75

# What a full disk or a missing permission is, in the middle of a run.
_STORAGE_TROUBLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
)  # fmt: skip


def program() -> None:
    """`run` as a process of its own.

    After a fault it does not wait for threads that wait for what will not come: orbax's do so for minutes where a save
    has failed.
    """
    try:
        run()
    except BaseException as error:
        if status := error.code if isinstance(error, SystemExit) else 1:
            leaving = threading.Timer(_LEAVING_SECONDS, os._exit, (status,))
            leaving.daemon = True
            leaving.start()
        raise


def run() -> None:
    """The program `t5x-lite`: its exit statuses are those of docs/stops.md, and one line says what to do."""
    arguments = sys.argv[1:]
    asks_for_help = bool({"--help", "-h", "-help"} & set(arguments))
    if not arguments or (asks_for_help and arguments[0] not in OWN_HELP):
        sys.stdout.write(_usage())
        return
    if "--version" in arguments:
        sys.stdout.write(f"t5x-lite {__version__}\n")
        return
    console.setup()
    try:
        text = _answer(arguments)
        if text is None:
            _run_task(arguments)
        else:
            sys.stdout.write(text)
    except InputError as error:
        _exit(str(error), _BAD_INPUT)
    except OSError as error:
        if error.errno not in _STORAGE_TROUBLE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _exit(f"{place}{error.strerror}; put that right, and the same command goes on", _BAD_INPUT)
    except Diverged as error:
        _exit(str(error), _DIVERGED)
    except RewardFailed as error:
        _exit(str(error), _REWARD_FAILED)
    except Stopped as stopped:
        number = stopped.signal_number
        _exit(str(stopped), 128 + number if number > 0 else _STOPPED_IN_TIME)
    except KeyboardInterrupt:
        _exit("stopped; the same command goes on from the last checkpoint, if there is one", 130)
    except Exception:
        if process_count() == 1:
            raise
        traceback.print_exc()
        _end(1)


def _answer(arguments: list[str]) -> str | None:
    """What is asked for in place of a run: that of a word, or of a flag; None where a run is."""
    if arguments[0] in WORDS:
        module, _, function = WORDS[arguments[0]][0].partition(":")
        return getattr(importlib.import_module(module), function)(arguments[1:]) or ""
    if "--print_config" in arguments:
        arguments.remove("--print_config")
        spec, _, overrides = parse([*arguments, "--workdir=none"])
        return explain_config(spec, overrides)
    if _DRY_RUN in arguments:
        spec, workdir, overrides = parse(parse_launch([a for a in arguments if a != _DRY_RUN])[1])
        config = _load(spec, overrides)
        rehearsal = importlib.import_module("t5x_lite.wiring.rehearsal")
        return f"{spec}: {rehearsal.rehearse(config, os.path.expanduser(workdir))}"
    return None


def _run_task(arguments: list[str]) -> None:
    launch, arguments = parse_launch(arguments)
    spec, workdir, overrides = parse(arguments)
    config = _load(spec, overrides)
    time_left = seconds_of(getattr(config, "stop_after", ""))
    with (
        deadline(time_left),
        leave_at_once(),
        joined(launch, json.dumps(to_dict(config), sort_keys=True)),
    ):
        task = importlib.import_module(f"t5x_lite.tasks.{config.task}.run")
        folder = os.path.expanduser(workdir)
        # Not above: what they need takes a second to import, which `--help` should not pay.
        from t5x_lite.wiring.compiled_programs import keep_compiled_programs
        from t5x_lite.wiring.lock import locked
        from t5x_lite.wiring.workdir import check_workdir

        keep_compiled_programs()
        with locked(folder):
            check_workdir(folder, config)
            task.run(config, folder)


def _load(spec: str, overrides: Mapping[str, str]) -> Any:
    """The config, whose files are there."""
    from t5x_lite.data.named_rows import (
        check_files,
    )  # a tenth of a second, which `--help` should not pay

    config = load_config(spec, overrides)
    check_files(config)
    return config


def parse_launch(arguments: Sequence[str]) -> tuple[Launch, list[str]]:
    """Reads the flags that say which process of several this is, and returns the others as they are.

    Raises:
      InputError: one without a number or value, or without those that belong to it.
    """
    given = {f"--{field.name}": "" for field in dataclasses.fields(Launch)}
    others, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        flag, equals, value = argument.partition("=")
        if flag not in given:
            others.append(argument)
            continue
        value = value if equals else rest.pop(0) if rest else ""
        number = value.replace(".", "", 1) if flag.endswith("_seconds") else value
        if flag != "--coordinator_address" and not number.isdecimal():
            raise InputError(f"{flag} needs a number, got {value!r}; see t5x-lite --help")
        given[flag] = value
    address, count, number = list(given.values())[:3]
    if bool(address) != bool(count) or bool(count) != bool(number):
        raise InputError(
            "--coordinator_address, --num_processes and --process_id belong together: give all three, or none"
        )
    return Launch(
        address,
        int(count or 1),
        int(number or 0),
        float(given["--start_seconds"] or _START_SECONDS),
        float(given["--lost_seconds"] or _LOST_SECONDS),
    ), others


def parse(arguments: Sequence[str]) -> tuple[str, str, dict[str, str]]:
    """Reads the flags: the value of --config, that of --workdir, and the fields to change with their values as text.

    >>> parse(["--config", "a.py", "--workdir=b", "--config.seed=1"])
    ('a.py', 'b', {'seed': '1'})

    Raises:
      InputError: a flag that is unknown, missing or without a value.
    """
    given = {"--config": "", "--workdir": ""}
    overrides = {}
    unknown = ""
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        field = flag.removeprefix("--config.")
        if flag not in given and field in ("", flag):
            unknown = unknown or flag
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{flag} needs a value; see t5x-lite --help")
            value = rest.pop(0)
        if flag in given:
            given[flag] = value
        else:
            overrides[field] = value
    if unknown:
        meant = flags_meant(unknown, given["--config"])
        hint = f"did you mean {meant}?" if meant else "see t5x-lite --help"
        kind = "flag" if unknown.startswith("-") else "word"
        raise InputError(f"{unknown}: there is no such {kind}; {hint}")
    for flag, value in given.items():
        if not value:
            raise InputError(f"{flag} is missing; see t5x-lite --help")
    return given["--config"], given["--workdir"], overrides


def _usage() -> str:
    words = "\n".join(f"  {word:<11}{what}" for word, (_, what) in WORDS.items())
    return USAGE.replace("@WORDS@", words) + _list_configs()


def _list_configs() -> str:
    files = shipped_configs()
    summaries = [ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    return "".join(
        f"  {file.name:<27}{(summary or '').partition(chr(10))[0]}\n"
        for file, summary in zip(files, summaries, strict=True)
    )


def _exit(message: str, status: int) -> None:
    sys.stderr.write(f"t5x-lite: {one_line(message)}\n")
    _end(status)


def _end(status: int) -> None:
    if process_count() > 1:  # jax would first wait for the others, who may be gone
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
