"""From what a user calls a tokenizer, or the model that it belongs to, to the local directory that holds it."""

from __future__ import annotations

import os
import pathlib

from t5x_lite.data.hub import is_offline
from t5x_lite.data.tokenizer_files import has_tokenizer
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json

# Models that come with the package, by name. A directory of the same name is called ./nano.
BUNDLED = {"nano": pathlib.Path(__file__).parent / "nano"}
_FILES = ["*.json", "*.model", "*.txt"]


def tokenizer_directory(
    source: str | os.PathLike[str], revision: str | None = None
) -> pathlib.Path:
    """The local directory of the tokenizer, downloaded where `source` is a hub id.

    Args:
      source: whatever names a model: "nano", a directory, the workdir of a run (its model's tokenizer, or the one that
        it trained), an adapter (its base's), or a hub id with or without "@revision".
      revision: a branch, tag or commit on the hub; None for directories.

    Raises:
      InputError: no such directory or id, or no network for a hub id.
    """
    name = os.fspath(source)
    folder = BUNDLED.get(name, pathlib.Path(name).expanduser())
    if folder.is_file():
        raise InputError(
            f"tokenizer.source: {folder} is a file; give the folder that it lies in, {folder.parent}"
        )
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                f"tokenizer.source: {folder} is a directory and has no revision {revision!r}; leave it out"
            )
        return _within(folder)
    hub_id, _, at = name.partition("@")
    if name.startswith((".", "/", "~")) or hub_id.count("/") > 1 or not hub_id:
        raise InputError(f"tokenizer.source: there is no directory {name}")
    import huggingface_hub

    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                hub_id,
                revision=revision or at or None,
                allow_patterns=_FILES,
                local_files_only=is_offline(),
            )
        )
    except Exception as error:  # hub and network errors share no base class
        raise InputError(
            f"tokenizer.source: cannot load {name!r} from the Hugging Face hub"
            f" ({first_line(error)}); check the id and the network, or give a local directory"
            " with tokenizer.json or spiece.model"
        ) from error


def _within(folder: pathlib.Path) -> pathlib.Path:
    """The place in a directory, or where it points to, that has the tokenizer; the directory itself if none has."""
    places = [folder, folder / "tokenizer"]
    if (folder / "model" / "config.json").is_file():  # the workdir of a run
        places.insert(0, folder / "model")
    found = next((place for place in places if has_tokenizer(place)), None)
    if found is not None:
        return found
    for adapter in (folder, folder / "adapter"):
        file = adapter / "adapter_config.json"
        try:
            config = read_json(file) if file.is_file() else {}
        except ValueError as error:
            raise InputError(f"{file}: not to be read ({first_line(error)})") from error
        name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
        if isinstance(name, str) and name:
            return tokenizer_directory(name)
    return folder


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of ours."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
