"""Whether the Hugging Face hub can be reached, asked once, so that nobody waits out its retries."""

from __future__ import annotations

import functools
import os
import socket
import urllib.parse
import urllib.request

_SECONDS = 5.0


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
