"""From what a user calls a model (a directory, or a Hugging Face id) to a local directory that holds it."""

from __future__ import annotations

import os
import pathlib

import huggingface_hub

from t5x_lite.data.tokenizer_source import BUNDLED
from t5x_lite.errors import InputError
from t5x_lite.interop.weight_files import FORMATS

# Configs, indices and tokenizers: small, and wanted whatever the format of the weights.
_SMALL_FILES = ["*.json", "*.model", "*.txt"]


def model_directory(source: str | os.PathLike[str], revision: str | None = None) -> pathlib.Path:
    """The local directory of the model `source`, downloaded where it is a hub id and not in the cache yet.

    Args:
      source: "nano" (the model that comes with the package), a local directory, the workdir of a run that left its
        model there, or a hub id with or without "@revision".
      revision: a branch, tag or commit on the hub; not for a local directory.

    Raises:
      InputError: no such directory, or the hub has no such model or cannot be reached.
    """
    local = BUNDLED.get(os.fspath(source), pathlib.Path(source).expanduser())
    if local.is_dir():
        if revision is not None:
            raise InputError(
                f"{local} is a directory, which has no revision {revision!r}; leave it out"
            )
        of_a_run = local / "model"
        return of_a_run if (of_a_run / "config.json").is_file() else local
    name = os.fspath(source)
    if local.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or not name:
        raise InputError(f"{name!r}: no such directory (a hub id looks like google/flan-t5-base)")
    if revision is None and "@" in name:
        name, revision = name.split("@", 1)
    # Asked for format by format, in order of preference: one download brings one format, and the cache is
    # used without network.
    for format in FORMATS:
        wanted = [*_SMALL_FILES, format.name, format.shards]
        try:
            found = pathlib.Path(
                huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=wanted)
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{name}{f' at {revision}' if revision else ''}: no such directory, and not to be had from"
                f" the Hugging Face hub ({reason}); check the name and the network, or give a directory"
            ) from error
        if (found / format.name).is_file() or (found / format.index_name).is_file():
            break
    return found
