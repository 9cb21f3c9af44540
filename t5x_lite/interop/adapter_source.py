"""What is loaded by the name of an adapter: the adapter, and the base to put it on."""

from __future__ import annotations

import os
import pathlib

from t5x_lite.errors import InputError
from t5x_lite.interop.hub import adapter_directory, model_directory
from t5x_lite.interop.peft import base_of, is_adapter
from t5x_lite.interop.t5x import is_t5x


def adapter_of(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory of the adapter that `source` is, or as a workdir has, or that a hub id names; None: it is none.

    Raises:
      InputError: there is no such directory, and the hub does not have it.
    """
    if is_t5x(source):
        return None
    if pathlib.Path(source).expanduser().exists():
        directory = adapter_directory(source)
        return directory if is_adapter(directory) else None
    directory = model_directory(source)
    return directory if is_adapter(directory) else None


def base_for(adapter: pathlib.Path, given: str | os.PathLike[str] | None) -> str:
    """The base of a saved adapter: the one that is given, beside it in its run's workdir, or where its config says.

    Raises:
      InputError: it says none, or that one is not to be had; the message has the way out.
    """
    beside = adapter.parent / "model"
    if given is not None:
        base = os.fspath(given)
    elif adapter.name == "adapter" and (beside / "config.json").is_file():
        base = str(beside)
    else:
        base = base_of(adapter)
    ways = (
        f"give load_pretrained({str(adapter)!r}, base=DIRECTORY or hub id), or load the base and then"
        f" load_adapter({str(adapter)!r})"
    )
    if not base:
        raise InputError(f"{adapter}: an adapter that does not say what its base is; {ways}")
    try:
        if not is_t5x(base):
            model_directory(base)
    except InputError as error:
        raise InputError(
            f"{adapter}: this adapter wants the base {base!r}, which is not to be had here ({error}); {ways}"
        ) from error
    return base
