"""From what a user calls a model (a directory, or a Hugging Face id) to a local directory that holds it."""

from __future__ import annotations

import difflib
import os
import pathlib
from typing import Any

import huggingface_hub

from t5x_lite.data.tokenizer_source import BUNDLED
from t5x_lite.errors import InputError
from t5x_lite.interop.weight_files import FORMATS

# Configs, indices and tokenizers: small, and wanted whatever the format of the weights.
ADAPTER_CONFIG = "adapter_config.json"
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
    local = _local_directory(source, revision)
    if local is not None:
        return local
    name, revision = _hub_id(source, revision)
    # Asked for format by format, in order of preference: one download brings one format, and the cache is
    # used without network.
    for format in FORMATS:
        found = _download(name, revision, [*_SMALL_FILES, format.name, format.shards])
        if (found / format.name).is_file() or (found / format.index_name).is_file():
            break
    if (found / ADAPTER_CONFIG).is_file():  # also beside weights: a value head, say
        return _download(name, revision, [*_SMALL_FILES, "adapter_model.*"])
    return found


def config_directory(source: str | os.PathLike[str]) -> pathlib.Path:
    """As `model_directory`, for whoever reads what a model is and not its weights: they are not downloaded.

    Raises:
      InputError: as there.
    """
    local = _local_directory(source, None)
    return _download(*_hub_id(source, None), _SMALL_FILES) if local is None else local


def sentence_encoder_directory(source: str | os.PathLike[str]) -> pathlib.Path:
    """As `model_directory`, for a sentence encoder: the weights of its dense layers come along.

    Raises:
      InputError: as there.
    """
    local = pathlib.Path(source).expanduser()
    if local.is_dir():
        return local
    name, revision = _hub_id(source, None)
    for format in FORMATS:
        weights = [format.name, format.shards, f"*/{format.name}"]
        found = _download(name, revision, [*_SMALL_FILES, *weights])
        if any(found.rglob(format.name)) or any(found.rglob(format.index_name)):
            return found
    return found


def check_names(**places: Any) -> None:
    """Refuses what names no model or directory.

    Raises:
      InputError: by the argument.
    """
    for name, place in places.items():
        if not isinstance(place, str | os.PathLike):
            raise InputError(
                f"{name}: expected a name or a directory, got a {type(place).__name__}"
            )


def _local_directory(source: str | os.PathLike[str], revision: str | None) -> pathlib.Path | None:
    """The directory that `source` is, or of a run its model's; None for a hub id."""
    local = BUNDLED.get(os.fspath(source), pathlib.Path(source).expanduser())
    if local.is_file():
        raise InputError(f"{local}: a file; give the folder that it lies in, {local.parent}")
    if not local.is_dir():
        return None
    if revision is not None:
        raise InputError(
            f"{local} is a directory, which has no revision {revision!r}; leave it out"
        )
    of_a_run = local / "model"
    return of_a_run if (of_a_run / "config.json").is_file() else local


def _hub_id(source: str | os.PathLike[str], revision: str | None) -> tuple[str, str | None]:
    """The name on the hub, and the revision."""
    name, _, at = os.fspath(source).partition("@")
    if "://" in os.fspath(source):
        raise InputError(
            f"{os.fspath(source)!r}: an address; a model of the hub is named by its id (google/flan-t5-base), and"
            " others are downloaded to a directory first"
        )
    is_path = pathlib.Path(source).expanduser().is_absolute() or name.startswith((".", "~"))
    if is_path or name.count("/") > 1 or not name:
        raise InputError(
            f"{os.fspath(source)!r}: no such directory (a hub id looks like google/flan-t5-base)"
        )
    return name, revision or at or None


def adapter_directory(source: str | os.PathLike[str]) -> pathlib.Path:
    """The local directory of the adapter `source`: itself, `adapter/` in a workdir, or of a hub id the download.

    Whether an adapter lies there, the reader says.

    Raises:
      InputError: the hub has no such repository or cannot be reached.
    """
    local = pathlib.Path(source).expanduser()
    if local.is_file():
        raise InputError(f"{local}: a file; give the folder that it lies in, {local.parent}")
    if local.is_dir():
        return local / "adapter" if (local / "adapter" / ADAPTER_CONFIG).is_file() else local
    if local.is_absolute() or os.fspath(source).startswith((".", "~")):
        return local
    return model_directory(source)


def _download(name: str, revision: str | None, wanted: list[str]) -> pathlib.Path:
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=wanted)
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        close = difflib.get_close_matches(name, BUNDLED, n=1, cutoff=0.75)
        hint = f"did you mean {close[0]}, which comes along? Or " if close else ""
        raise InputError(
            f"{name}{f' at {revision}' if revision else ''}: no such directory, and not to be had from"
            f" the Hugging Face hub ({reason}); {hint}check the name and the network, or give a directory"
        ) from error
