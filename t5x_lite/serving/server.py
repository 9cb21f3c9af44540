"""From settings to a server that runs until a signal, and ends what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.serving.app import App
from t5x_lite.serving.completing import Completing
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.reading import Readings, load_readings
from t5x_lite.serving.scheduler import Scheduler
from t5x_lite.serving.sections import ServeSettings
from t5x_lite.serving.served import Served, load_served
from t5x_lite.wiring.compiled_programs import keep_compiled_programs

API_KEY = "T5X_LITE_API_KEY"
_SECONDS_BETWEEN_LOOKS = 0.05
_BACKLOG = 2048
_SWITCH_SECONDS = 0.0005


class Server(uvicorn.Server):
    """uvicorn, which leaves signals to `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: ServeSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
      InputError: as `load_served` and `load_readings`, or an address that is taken.
    """
    listening = _bound(settings)  # before minutes of loading
    keep_compiled_programs()
    metrics = Metrics()
    served = load_served(settings) if settings.model else None
    readings = load_readings(settings, metrics, list(served.names) if served else [])
    with listening:
        asyncio.run(run(settings, served, readings, metrics, listening))


def make_scheduler(served: Served, metrics: Metrics) -> Scheduler:
    """The scheduler of a model that generates, and watched (not started)."""
    scheduler = Scheduler(
        served.engine,
        served.alone,
        queue=served.settings.queue,
        count_tokens=metrics.generated_tokens.inc,
    )
    engine, alone = served.engine, served.alone
    metrics.watch("t5x_lite_waiting_outputs", "In the queue.", lambda: scheduler.waiting)
    metrics.watch("t5x_lite_running_slots", "Slots in use.", lambda: scheduler.running)
    metrics.watch("t5x_lite_slots", "Slots.", lambda: engine.slots)
    metrics.watch(
        "t5x_lite_running_alone", "Calls beside the slots.", lambda: scheduler.running_alone
    )
    metrics.watch(
        "t5x_lite_compilations",
        "Programs of the slots: all at the start.",
        lambda: engine.compilations,
    )
    metrics.watch(
        "t5x_lite_compilations_alone",
        "Programs of calls beside the slots (beams, bans): once for each structure.",
        lambda: alone.compilations,
    )
    return scheduler


def make_app(
    settings: ServeSettings,
    served: Served | None,
    scheduler: Scheduler | None,
    readings: Readings,
    metrics: Metrics,
) -> Any:
    """The application of what is served; without a model that generates both `served` and `scheduler` are None."""
    completing = Completing(served, scheduler, metrics) if served and scheduler else None
    key = settings.api_key or os.environ.get(API_KEY, "")
    return App(settings, completing, readings, metrics, key).routes()


async def run(
    settings: ServeSettings,
    served: Served | None,
    readings: Readings,
    metrics: Metrics,
    listening: socket.socket,
) -> None:
    """Serves on a socket. The first signal lets what runs end, the second one does not wait."""
    scheduler = make_scheduler(served, metrics) if served else None
    app = make_app(settings, served, scheduler, readings, metrics)
    server = Server(_uvicorn_config(app, settings))
    # The thread that feeds the device asks for Python's lock often, and each time for long enough to matter.
    sys.setswitchinterval(_SWITCH_SECONDS)
    working: list[Scheduler | Readings] = [readings, *([scheduler] if scheduler else [])]
    if scheduler:
        scheduler.start()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, number, working, stopping)
    address = "{}:{}".format(*listening.getsockname()[:2])
    names = [*(served.names if served else ()), *readings.names]
    log.info("serving %s at http://%s", ", ".join(names), address)
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not running.done():
        await _drained(working, settings.drain_timeout)
        server.should_exit = True
    await running
    for each in working:
        await asyncio.to_thread(each.stop)


def _stop(number: int, working: Sequence[Scheduler | Readings], stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os.write(2, b"t5x-lite: left at once\n")
        os._exit(128 + number)
    log.info("%s: ending what runs, and taking nothing new", signal.Signals(number).name)
    for each in working:
        each.close()
    stopping.set()


async def _drained(working: Sequence[Scheduler | Readings], seconds: float) -> None:
    """Until nothing waits or runs, or so many seconds are over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not all(each.is_idle for each in working):
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)


def _bound(settings: ServeSettings) -> socket.socket:
    """A socket with its address, which nobody can connect to before the server runs.

    Raises:
      InputError: the address is taken, not this machine's, or none.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        place = f"--host {settings.host} --port {settings.port}"
        raise InputError(f"{place}: {error.strerror or error}; take another") from None
    return listening


def _uvicorn_config(app: Any, settings: ServeSettings) -> uvicorn.Config:
    _raise_open_files()
    return uvicorn.Config(
        app,
        http=_protocol(settings.read_timeout),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,  # addresses and paths of requests are nobody's business by default
        server_header=False,
        timeout_graceful_shutdown=5,
        backlog=_BACKLOG,
    )


def _raise_open_files() -> None:
    """Connections are files: as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _protocol(seconds: float) -> type[H11Protocol]:
    """HTTP whose connections are closed where no request comes in so many seconds."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._patience = asyncio.get_running_loop().call_later(seconds, self._lose_patience)

        def _lose_patience(self) -> None:
            if self.cycle is None:
                self.transport.close()

        def connection_lost(self, error: Exception | None) -> None:
            self._patience.cancel()
            super().connection_lost(error)

    return Impatient
