"""The Hugging Face hub: whether it can be reached, asked once, so that nobody waits out its retries; its data sets."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from t5x_lite.data.arrow_tables import data_set_records
from t5x_lite.errors import InputError

_SECONDS = 5.0
# How `datasets` lists a data set's configurations where none, or one that is not there, was named.
_CONFIGURATIONS = re.compile(r"(?:available configs|Available): ?\[([^\]]*)\]", re.IGNORECASE)


@functools.cache
def is_offline() -> bool:
    """True if HF_HUB_OFFLINE says so or the hub does not answer within 5 seconds.

    The hub's client retries for most of a minute on a machine without network, and so would every
    run with a hub id on it. Where a proxy is set only the client knows the way: then it tries.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return True
    if urllib.request.getproxies():
        return False
    from huggingface_hub import constants

    address = urllib.parse.urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_SECONDS).close()
    except OSError:
        return True
    return False


def split_source(source: str) -> tuple[str, str | None, str | None]:
    """(id, configuration, revision) of "owner/name:configuration@revision", where the latter two may be missing."""
    name, _, revision = source.partition("@")
    name, _, configuration = name.partition(":")
    return name, configuration or None, revision or None


def read_data_set(source: str, split: str) -> Iterator[tuple[str, Any]]:
    """(place, record) of each row of a data set of the hub, or of a folder laid out as there.

    Raises:
      InputError: no split, one that is not there, a configuration that is missing or unknown (with those there are), or
        a data set that cannot be reached.
    """
    if not split:
        raise InputError(f"data.split: name the split of {source} to read, e.g. 'train'")
    import datasets

    if is_offline():
        datasets.config.HF_HUB_OFFLINE = True  # what is cached still loads, and nothing waits
    folder = pathlib.Path(source).expanduser()
    name, configuration, revision = (
        (str(folder), None, None) if folder.is_dir() else split_source(source)
    )
    chosen = {} if configuration is None else {"name": configuration}
    try:
        table = datasets.load_dataset(name, **chosen, split=split, revision=revision)
    except Exception as error:  # hub, network, split and parse errors share no base class
        said = str(error).strip() or type(error).__name__
        if match := _CONFIGURATIONS.search(said):
            there = [found.strip(" '\"") for found in match[1].split(",")]
            wrong = f"has no configuration {configuration!r}" if configuration else "has several"
            raise InputError(
                f"data.source: {name} {wrong}; write {name}:CONFIGURATION, one of {', '.join(there)}"
            ) from error
        raise InputError(
            f"data.source: cannot load split {split!r} of the dataset {source!r} ({said.splitlines()[0][:200]});"
            " check the id, the split and the network, or give a local .jsonl, .csv or .parquet"
            " file"
        ) from error
    yield from data_set_records(table, f"{source} {split}")
