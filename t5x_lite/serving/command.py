"""`t5x-lite serve`: flags, and the start of the server. Nothing heavy is imported before the flags are read."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from typing import Any

from t5x_lite import sections
from t5x_lite.errors import InputError
from t5x_lite.serving.sections import DEFAULTS, ServeSettings

_SEE = "see t5x-lite serve --help"
_EXTRA = ("starlette", "uvicorn", "prometheus_client")


def usage() -> str:
    """The text of `t5x-lite serve --help`."""
    lines = [
        "t5x-lite serve --model DIRECTORY [--adapter NAME=DIRECTORY ...] [--FLAG VALUE ...]",
        "t5x-lite serve --encoder NAME=DIRECTORY --classifier NAME=DIRECTORY ...\n",
        "Serves models over HTTP, in OpenAI's format: /v1/completions, /v1/embeddings, /v1/classify, /v1/models,",
        "/healthz, /readyz, /metrics. / is a playground. docs/serving.md says more. SIGTERM ends it in order, with",
        "exit status 0.\n",
    ]
    for field in sections.describe(ServeSettings):
        default = DEFAULTS.get(field.name)
        shown = f" Default: {default}." if default not in (None, "", ()) else ""
        lines += textwrap.wrap(
            f"{field.doc}{shown}",
            width=118,
            initial_indent=f"  --{field.name:<19} ",
            subsequent_indent=" " * 24,
        )
    return "\n".join(lines) + "\n"


def read_flags(arguments: Sequence[str]) -> ServeSettings:
    """The settings that flags give.

    Raises:
      InputError: a flag that is unknown, without a value, or out of bounds.

    >>> read_flags(["--model", "nano", "--port=0", "--adapter", "a=runs/a"]).adapter
    (('a', 'runs/a'),)
    """
    values: dict[str, Any] = dict(DEFAULTS)
    known = sections.fields(ServeSettings)
    several: dict[str, list[tuple[str, str]]] = {"adapter": [], "encoder": [], "classifier": []}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = flag.removeprefix("--")
        if name == flag or name not in known:
            raise InputError(f"{flag}: there is no such flag; {_SEE}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(f"{flag} needs a value; {_SEE}")
            value = rest.pop(0)
        if name in several:
            several[name].append(_named(flag, value))
        else:
            values[name] = _number(value) if known[name].kind in (int, float) else value
    values |= {name: tuple(pairs) for name, pairs in several.items()}
    if not any(values[name] for name in ("model", "encoder", "classifier")):
        raise InputError(f"--model is missing (or --encoder, or --classifier); {_SEE}")
    if values["adapter"] and not values["model"]:
        raise InputError(f"--adapter needs --model, which it is an adapter of; {_SEE}")
    return sections.read(ServeSettings, values, "--{}".format)


def answer(arguments: Sequence[str]) -> str | None:
    """What is behind the word `serve`: its help where that is asked for; otherwise it serves until a signal.

    Raises:
      InputError: a flag, a model or an adapter is not what it should be, or the extra is not installed.
    """
    if {"--help", "-h", "-help"} & set(arguments):
        return usage()
    settings = read_flags(arguments)
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"serve needs {', '.join(missing)}: install them by pip install 't5x-lite[serve]'"
        )
    from t5x_lite.serving.server import serve

    serve(settings)
    return None


def _named(flag: str, value: str) -> tuple[str, str]:
    name, equals, directory = value.partition("=")
    if not (name and equals and directory):
        raise InputError(f"{flag} {value}: write NAME=DIRECTORY; {_SEE}")
    return name, directory


def _number(text: str) -> Any:
    """What the section then checks."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
