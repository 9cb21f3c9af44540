"""The HTTP application: routes, who may ask, how large a request may be and how long it may take."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from t5x_lite.console import log
from t5x_lite.serving.answers import Answer, event
from t5x_lite.serving.completions import read_completion, read_json
from t5x_lite.serving.metrics import CONTENT_TYPE, Metrics
from t5x_lite.serving.scheduler import Scheduler
from t5x_lite.serving.served import Served
from t5x_lite.serving.tickets import Failed, Ticket
from t5x_lite.serving.trouble import Refused

Handler = Callable[[Request], Awaitable[Response]]
_FAILED = "the server failed at this request; its log says how"
_PLAYGROUND = pathlib.Path(__file__).parent / "playground"
# The page talks to this server alone, and stands in nobody else's.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
# Paths of OpenAI's that clients may try.
_NOT_THERE = {
    "/v1/chat": "there are completions, no chat",
    "/v1/embeddings": "this server generates, and has no embeddings",
    "/v1/responses": "there are completions, no responses",
}
# A request whose client has gone: nobody reads the status (nginx counts such as 499).
_CLIENT_GONE = 499


class App:
    """The routes of one served model. api_key: what clients send; "": nothing."""

    def __init__(self, served: Served, scheduler: Scheduler, metrics: Metrics, api_key: str):
        self._served, self._scheduler, self._metrics = served, scheduler, metrics
        self._api_key = api_key.encode()

    def routes(self) -> Starlette:
        """The application that uvicorn runs."""
        routes = [
            self._route("/", _file("index.html")),
            self._route("/playground.js", _file("playground.js")),
            self._route("/v1/completions", self._completions, "POST"),
            self._route("/v1/models", self._models),
            self._route("/v1/models/{model:path}", self._model),
            self._route("/healthz", self._health),
            self._route("/readyz", self._ready),
            self._route("/metrics", self._tell_metrics),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _not_found})

    def _route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        """With errors as OpenAI has them, and counted."""

        async def answered(request: Request) -> Response:
            try:
                if path.startswith("/v1/"):
                    self._check_key(request)
                response = await handler(request)
            except Refused as refused:
                response = _refused(refused)
            except ClientDisconnect:
                response = Response(status_code=_CLIENT_GONE)
            except Exception as error:
                if not isinstance(error, Failed):  # of which the scheduler has spoken
                    log.exception("%s failed", path)
                response = _refused(Refused(500, _FAILED))
            self._metrics.requests.labels(path, str(response.status_code)).inc()
            return response

        return Route(path, answered, methods=[method])

    def _check_key(self, request: Request) -> None:
        if not self._api_key:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        given_key = given.strip().encode() if scheme.lower() == "bearer" else b""
        if not hmac.compare_digest(given_key, self._api_key):
            raise Refused(
                401,
                "the API key is missing or wrong: send 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )

    async def _completions(self, request: Request) -> Response:
        asked = read_completion(read_json(await self._body(request)))
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
                return JSONResponse(await _unless_gone(request, answer.whole()))
        except TimeoutError:
            raise self._too_long() from None

    async def _events(self, answer: Answer, ticket: Ticket) -> AsyncIterator[bytes]:
        """Errors are events here, since the status has been sent."""
        try:
            async with self._held(ticket):
                async for one in answer.events():
                    yield one
        except TimeoutError:
            yield event(self._too_long().body())
        except Failed:
            yield event(Refused(500, _FAILED).body())

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

    def _too_long(self) -> Refused:
        seconds = self._served.settings.request_timeout
        return Refused(504, f"the request took longer than {seconds:g} s", code="timeout")

    async def _body(self, request: Request) -> bytes:
        """
        Raises:
          Refused: too large, or too slow.
        """
        most = self._served.settings.max_request_bytes
        too_large = Refused(413, f"the body is larger than {most} bytes", code="request_too_large")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._served.settings.read_timeout):
                async for piece in request.stream():
                    body += piece
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise Refused(408, "the body did not come in time", code="timeout") from None
        return bytes(body)

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [self._describe(name) for name in self._served.names]}
        )

    async def _model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name not in self._served.names:
            raise Refused(
                404,
                f"the model {name!r} does not exist; there are: {', '.join(self._served.names)}",
                param="model",
                code="model_not_found",
            )
        return JSONResponse(self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        first, *_ = self._served.names
        return {
            "id": name,
            "object": "model",
            "created": self._served.created,
            "owned_by": "t5x_lite",
            "parent": None if name == first else first,
        }

    async def _health(self, request: Request) -> Response:
        if self._scheduler.is_alive:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the device is gone: start the server again\n", 503)

    async def _ready(self, request: Request) -> Response:
        if self._scheduler.is_open:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("stopping\n", 503)

    async def _tell_metrics(self, request: Request) -> Response:
        return Response(self._metrics.render(), media_type=CONTENT_TYPE)


def _file(name: str) -> Handler:
    """A file of the playground."""
    content = (_PLAYGROUND / name).read_bytes()
    kind = "text/html" if name.endswith(".html") else "text/javascript"

    async def answered(request: Request) -> Response:
        return Response(content, media_type=kind, headers=_PAGE_HEADERS)

    return answered


async def _unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """The result of `work`, which ends when the client goes.

    Raises:
      ClientDisconnect: it went.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, watching):
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refused(refused: Refused) -> Response:
    return JSONResponse(refused.body(), refused.status, refused.headers())


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    hints = (hint for part, hint in _NOT_THERE.items() if request.url.path.startswith(part))
    return _refused(Refused(error.status_code, "; ".join([message, *hints])))
