"""The processes of a run find each other before jax starts, so that who is missing can be named.

Process 0 listens at the coordinator's port, the others call it; once all have said who they are, each gets the list of
hosts, and the port is free for jax. The connections stay open: `watch` hears through them when a process goes.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from t5x_lite.errors import InputError

_SECONDS_BETWEEN_TRIES = 0.2
# For what a process says as soon as it is connected.
_HELLO_SECONDS = 2.0
# How much longer the others wait than process 0: its answer names who is missing.
_GRACE_SECONDS = 5.0


def meet(
    address: str, count: int, number: int, seconds: float, command: str
) -> tuple[list[socket.socket], list[str]]:
    """Waits until all `count` processes are there.

    Args:
      address: "host:port" of process 0.
      seconds: how long to wait.
      command: what all must have been started with, or a digest of it.

    Returns:
      The connections (process 0: to processes 1, 2, ...; the others: to process 0), and each process's host.

    Raises:
      InputError: a process is missing (which), there twice, of another run or started with another command.
    """
    hello = {"process": number, "of": count, "command": command, "host": socket.gethostname()}
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(
            f"--coordinator_address {address}: give the host of process 0 and a free port there, HOST:PORT"
        )
    if number == 0:
        return _gather(address, int(port), hello, seconds)
    return _call(address, (host.strip("[]"), int(port)), hello, seconds)


def _gather(
    address: str, port: int, hello: dict[str, Any], seconds: float
) -> tuple[list[socket.socket], list[str]]:
    count, deadline = hello["of"], time.monotonic() + seconds
    there: dict[int, socket.socket] = {}
    hosts = {0: hello["host"]}
    try:
        listener = socket.create_server(("", port), backlog=count)
    except OSError as error:
        raise InputError(
            f"--coordinator_address {address}: process 0 cannot listen at port {port} ({error.strerror});"
            " choose another"
        ) from error
    with listener:
        while len(there) < count - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection, _ = listener.accept()
                # Ours speak at once; whoever is silent (a port scan) must not keep them waiting until the deadline.
                connection.settimeout(_HELLO_SECONDS)
                other = _receive(connection)
                number = other["process"]
            except (TimeoutError, OSError, ValueError, TypeError, KeyError):
                if time.monotonic() < deadline:
                    continue  # whatever called was none of ours
                missing = [k for k in range(1, count) if k not in there]
                _refuse(list(there.values()), _missing(missing, count, seconds, address))
            if trouble := _mismatch(hello, other, number in there):
                _refuse([connection, *there.values()], trouble)
            there[number], hosts[number] = connection, other["host"]
    roster = [hosts[k] for k in range(count)]
    for connection in there.values():
        _send(connection, {"hosts": roster})
    return [there[k] for k in range(1, count)], roster


def _call(
    address: str, place: tuple[str, int], hello: dict[str, Any], seconds: float
) -> tuple[list[socket.socket], list[str]]:
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection(place, timeout=max(seconds, 1.0))
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"process 0 of {hello['of']} is missing: nothing answers at --coordinator_address {address} for"
                    f" {seconds:g} s ({error.strerror or error}); start it there, or put the address right"
                ) from error
            time.sleep(_SECONDS_BETWEEN_TRIES)
    _send(connection, hello)
    connection.settimeout(max(deadline - time.monotonic(), 0.0) + _GRACE_SECONDS)
    try:
        answer = _receive(connection)
    except (OSError, ValueError) as error:
        raise InputError(
            f"process 0 of {hello['of']} at {address} is gone before all processes were there; start all again"
        ) from error
    if "error" in answer:
        raise InputError(answer["error"])
    connection.settimeout(None)
    return [connection], answer["hosts"]


def _missing(missing: list[int], count: int, seconds: float, address: str) -> str:
    numbers = ", ".join(map(str, missing))
    several = len(missing) > 1
    return (
        f"process{'es' if several else ''} {numbers} of {count} {'are' if several else 'is'} missing: not there within"
        f" {seconds:g} s; start {'them' if several else 'it'} with --coordinator_address {address}, or raise"
        " --start_seconds"
    )


def _mismatch(mine: dict[str, Any], other: dict[str, Any], twice: bool) -> str:
    who = f"process {other['process']} on {other['host']}"
    if other["of"] != mine["of"]:
        return (
            f"--num_processes: {mine['of']} in process 0, {other['of']} in {who}; give all the same"
        )
    if twice or other["process"] == 0:
        return f"--process_id: there are two processes {other['process']}, one on {other['host']}"
    if other["command"] != mine["command"]:
        return f"{who} has another config than process 0: start all with the same flags and files"
    return ""


def _refuse(connections: list[socket.socket], trouble: str) -> None:
    for connection in connections:
        _send(connection, {"error": trouble})
        connection.close()
    raise InputError(trouble)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> dict[str, Any]:
    # Byte by byte: what comes behind the line is for `watch`.
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ValueError("closed")
        line += byte
    return json.loads(line)
