"""Notice that a machine of Google's cloud is about to be taken away, as its metadata server gives it.

A spot VM has 30 seconds from the notice to the SIGTERM of its shutdown, and a container may never see that. A thread
asks every few seconds; the loop stops in order as at a signal, and all processes at the same step.
"""

from __future__ import annotations

import contextlib
import os
import threading
import urllib.request
from collections.abc import Iterator

from t5x_lite.console import log
from t5x_lite.train.signals import preempted

# Google's own clients read the host from there, too.
_HOST = "GCE_METADATA_HOST"
_ANYWHERE_ELSE = "metadata.google.internal"
# What the server says of this instance while nothing is to come.
_QUIET = {"preempted": "FALSE", "maintenance-event": "NONE"}
# MIGRATE_ON_HOST_MAINTENANCE moves a VM while it runs; TPU VMs and spot VMs are ended.
_HARMLESS = ("MIGRATE_ON_HOST_MAINTENANCE",)
_SECONDS, _PATIENCE = 5.0, 2.0


@contextlib.contextmanager
def preemption_watched(on: bool) -> Iterator[None]:
    """Within, a notice stops loops in order. Where no metadata server answers, a line of the log says so, and none
    comes.
    """
    if not on:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(done,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2 * _PATIENCE)
        preempted.clear()


def _watch(done: threading.Event) -> None:
    host = os.environ.get(_HOST, _ANYWHERE_ELSE)
    answered = False
    while True:
        try:
            notice = _notice(host)
        except OSError as error:
            if not answered:
                log.warning(
                    "config.stop_on_preemption: no metadata server answers at %s (%s), so that no notice will come",
                    host,
                    getattr(error, "reason", error),
                )
                return
            notice = ""
        else:
            answered = True
        if notice:
            log.warning("the machine is about to be taken away (%s)", notice)
            preempted.set()
            return
        if done.wait(_SECONDS):
            return


def _notice(host: str) -> str:
    """What is to come, in the server's words; "" for nothing.

    Raises:
      OSError: it does not answer.
    """
    # Past any proxy: the server is this machine's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for name, quiet in _QUIET.items():
        request = urllib.request.Request(
            f"http://{host}/computeMetadata/v1/instance/{name}",
            headers={"Metadata-Flavor": "Google"},
        )
        with opener.open(request, timeout=_PATIENCE) as answer:
            text = answer.read(100).decode("ascii", "replace").strip()
        if text not in (quiet, *_HARMLESS):
            return f"{name}: {text}"
    return ""
