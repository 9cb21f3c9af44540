"""Requests for completions, from a body to an answer that comes whole or piece by piece."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from t5x_lite.serving.answers import Answer, event
from t5x_lite.serving.clients import unless_gone
from t5x_lite.serving.completions import read_completion
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.scheduler import Scheduler
from t5x_lite.serving.served import Served
from t5x_lite.serving.tickets import Failed, Ticket
from t5x_lite.serving.trouble import FAILED, Refused, too_long


class Completing:
    """A model that generates, and what schedules its work."""

    def __init__(self, served: Served, scheduler: Scheduler, metrics: Metrics):
        self._served, self._scheduler, self._metrics = served, scheduler, metrics

    @property
    def names(self) -> dict[str, str | None]:
        """Of the model and its adapters; to each adapter the model's."""
        first, *adapters = self._served.names
        return {first: None} | dict.fromkeys(adapters, first)

    @property
    def is_alive(self) -> bool:
        """Whether there is still somebody to generate."""
        return self._scheduler.is_alive

    @property
    def is_open(self) -> bool:
        """Whether new requests are taken."""
        return self._scheduler.is_open

    async def answer(self, request: Request, body: Mapping[str, Any]) -> Response:
        """The completions that a body asks for.

        Raises:
          Refused: it asks for what there is not, the queue is full, or it took too long. ClientDisconnect: the client
            went away. Failed: the program did.
        """
        asked = read_completion(body)
        ticket, count = self._served.ticket(asked)
        answer = Answer(self._served, self._metrics, asked, ticket, count)
        self._scheduler.submit(ticket)
        self._metrics.prompt_tokens.inc(count)
        if asked.stream:
            return StreamingResponse(
                self._events(answer, ticket),
                media_type="text/event-stream",
                headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
            )
        try:
            async with self._held(ticket):
                return JSONResponse(await unless_gone(request, answer.whole()))
        except TimeoutError:
            raise too_long(self._served.settings.request_timeout) from None

    async def _events(self, answer: Answer, ticket: Ticket) -> AsyncIterator[bytes]:
        """Errors are events here, since the status has been sent."""
        try:
            async with self._held(ticket):
                async for one in answer.events():
                    yield one
        except TimeoutError:
            yield event(too_long(self._served.settings.request_timeout).body())
        except Failed:
            yield event(Refused(500, FAILED).body())

    @contextlib.asynccontextmanager
    async def _held(self, ticket: Ticket) -> AsyncIterator[None]:
        """Whatever ends a request before its answer is complete, its slots are free for others."""
        whole = False
        try:
            yield
            whole = True
        finally:
            self._scheduler.cancel(ticket)
            if not whole:
                self._metrics.cancelled.inc()
