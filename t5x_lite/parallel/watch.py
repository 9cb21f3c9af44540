"""The watcher beside each process of a run: a small program that ends it, with one line that says why, when another
process is gone.

It is a program of its own for what happens then: jax aborts every process within milliseconds of the coordinator's
death, and a process that waits for a dead one in a collective hears nothing. Watchers talk through the connections
that `rendezvous` left open, in a star around process 0's. Only the standard library is imported, so that it starts at
once: `python watch.py SETTINGS`, JSON as `Watcher` has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import sys
import time

_BEAT_SECONDS = 1.0
# How long a process that failed because of another one waits to hear which, and one that was told has to end.
_VERDICT_SECONDS, _END_SECONDS = 10.0, 5.0
# What C++ says when another process goes: the watcher's line says it better.
_NOISE = re.compile(
    r"coordination_service|preemption_sync_manager|PjRt|Gloo|gloo|client\.h:\d|GRPC error|grpc_message|RPC: /"
    r"|unhealthy|Check failure stack trace|^\s*@ +0x|The tasks have crashed|^\d+$|^\s*$"
)
_OF_OTHERS = re.compile(r"distributed service detected fatal errors")


class Watcher:
    """Watches the process that started it.

    Args:
      number, hosts: which process that is, and the host of each.
      lost_seconds: after how long a silence a process counts as gone.
      control, errors: descriptors of a socket to the process, and of the pipe that is C++'s standard error there.
      peers: {process: descriptor} of the connections.
    """

    def __init__(
        self,
        number: int,
        hosts: list[str],
        lost_seconds: float,
        control: int,
        errors: int,
        peers: dict[str, int],
    ):
        self._number, self._hosts, self._lost_seconds = number, hosts, lost_seconds
        self._control = socket.socket(fileno=control)
        self._errors = errors
        self._peers = {int(k): socket.socket(fileno=fd) for k, fd in peers.items()}
        self._heard = dict.fromkeys(self._peers, time.monotonic())
        self._ended: set[int] = set()
        self._spoken = self._closed = self._of_others = False  # of the own process
        self._buffers: dict[int, bytes] = {}
        self._deadline = float("inf")
        self._worker = os.getppid()

    def run(self) -> None:
        """Until the process has ended."""
        selector = selectors.DefaultSelector()
        for descriptor in (self._control.fileno(), self._errors):
            selector.register(descriptor, selectors.EVENT_READ, None)
        for number, peer in self._peers.items():
            selector.register(peer.fileno(), selectors.EVENT_READ, number)
        descriptors = (
            self._errors,
            self._control.fileno(),
            *map(socket.socket.fileno, self._peers.values()),
        )
        order = {descriptor: place for place, descriptor in enumerate(descriptors)}
        beat = 0.0
        while time.monotonic() < self._deadline:
            # What C++ says tells why the process ended; its own last words come before what others say of it.
            events = sorted(selector.select(_BEAT_SECONDS), key=lambda event: order[event[0].fd])
            for key, _ in events:
                lines, open_ = self._read(key.fd)
                if not open_:
                    selector.unregister(key.fd)
                if key.fd == self._errors:
                    self._relay(lines)
                elif key.data is None:
                    self._hear_own(lines, open_)
                else:
                    self._hear(key.data, lines, open_)
            if self._closed and (self._spoken or not self._of_others):
                return
            if time.monotonic() - beat > _BEAT_SECONDS:
                beat = time.monotonic()
                self._tell("beat")
            for number, heard in self._heard.items():
                silent = time.monotonic() - heard
                if number not in self._ended and silent > self._lost_seconds:
                    self._gone(number, f"silent for {self._lost_seconds:g} s")
        if not self._closed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)
        elif not self._spoken:
            self._say("the connection to the other processes is lost")

    def _hear_own(self, lines: list[str], open_: bool) -> None:
        for line in lines:
            self._spoken = True
            word, _, text = line.partition(" ")
            self._tell(f"{word} {self._number} {text}")
        if open_:
            return
        self._closed = True
        if self._spoken:
            return
        if self._of_others:  # another process was first; which, will be heard
            self._deadline = time.monotonic() + _VERDICT_SECONDS
        else:
            self._tell(f"gone {self._number} it was killed, or crashed")

    def _hear(self, peer: int, lines: list[str], open_: bool) -> None:
        self._heard[peer] = time.monotonic()
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "beat":
                continue
            number, _, text = rest.partition(" ")
            if word == "done":
                self._ended.add(int(number))
            else:
                self._gone(int(number), text)
        if not open_ and peer not in self._ended:
            self._gone(peer, "its connection is closed")

    def _gone(self, number: int, why: str) -> None:
        if number in self._ended or number == self._number:
            return
        self._ended.add(number)
        self._tell(f"gone {number} {why}")
        if self._spoken:
            return
        self._spoken = True
        self._say(
            f"process {number} of {len(self._hosts)} (on {self._hosts[number]}) is gone: {why}. All processes end;"
            " start all again with the same command, and the run goes on from its last checkpoint, if there is one"
        )
        self._deadline = time.monotonic() + _END_SECONDS
        with contextlib.suppress(OSError):
            self._control.sendall(b"end\n")

    def _tell(self, line: str) -> None:
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(line.encode() + b"\n")

    def _read(self, descriptor: int) -> tuple[list[str], bool]:
        """The complete lines that are there, and whether more may come."""
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:
            data = b""
        whole = self._buffers.pop(descriptor, b"") + data
        *lines, rest = whole.split(b"\n")
        if data:
            self._buffers[descriptor] = rest
        elif rest:
            lines.append(rest)
        return [line.decode(errors="replace") for line in lines], bool(data)

    def _relay(self, lines: list[str]) -> None:
        for line in lines:
            self._of_others |= bool(_OF_OTHERS.search(line))
            if not _NOISE.search(line):
                sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _say(self, text: str) -> None:
        sys.stderr.write(f"t5x-lite: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    Watcher(**json.loads(sys.argv[1])).run()
