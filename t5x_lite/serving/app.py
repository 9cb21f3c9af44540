"""The HTTP application: routes, who may ask, how large a request may be and how long it may take to come."""

from __future__ import annotations

import asyncio
import hmac
import pathlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from t5x_lite.console import log
from t5x_lite.serving.completing import Completing
from t5x_lite.serving.completions import read_json
from t5x_lite.serving.metrics import CONTENT_TYPE, Metrics
from t5x_lite.serving.reading import Readings
from t5x_lite.serving.sections import ServeSettings
from t5x_lite.serving.tickets import Failed
from t5x_lite.serving.trouble import FAILED, Refused, no_such_model

Handler = Callable[[Request], Awaitable[Response]]
# What answers a request with a JSON object in its body.
Answering = Callable[[Request, Mapping[str, Any]], Awaitable[Response]]
_PLAYGROUND = pathlib.Path(__file__).parent / "playground"
# The page talks to this server alone, and stands in nobody else's.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
# Paths that clients may try, where they are not there.
_NOT_THERE = {
    "/chat": "there are completions, no chat",
    "/health": "it is /healthz here",
    "/responses": "there are completions, no responses",
    "/completions": "this server has no model that generates; start it with --model",
    "/embeddings": "this server has no encoder; start it with --encoder NAME=DIRECTORY",
    "/classify": "this server has no classifier; start it with --classifier NAME=DIRECTORY",
}
# A request whose client has gone: nobody reads the status (nginx counts such as 499).
_CLIENT_GONE = 499


class App:
    """The routes of what is served.

    completing: None where no model generates. api_key: what clients send; "": nothing.
    """

    def __init__(
        self,
        settings: ServeSettings,
        completing: Completing | None,
        readings: Readings,
        metrics: Metrics,
        api_key: str,
    ):
        self._settings, self._metrics = settings, metrics
        self._completing, self._readings = completing, readings
        self._api_key = api_key.encode()
        self._created = int(time.time())
        # To each name the model that it is an adapter of, if it is one.
        self._names = (completing.names if completing else {}) | dict.fromkeys(readings.names)

    def routes(self) -> Starlette:
        """The application that uvicorn runs."""
        routes = [
            self._route("/v1/models", self._models),
            self._route("/v1/models/{model:path}", self._model),
            self._route("/healthz", self._health),
            self._route("/readyz", self._ready),
            self._route("/metrics", self._tell_metrics),
        ]
        if self._completing:
            routes += [
                self._route("/", _file("index.html")),
                self._route("/playground.js", _file("playground.js")),
                self._post("/v1/completions", self._completing.answer),
            ]
        if self._readings.encoders:
            routes.append(self._post("/v1/embeddings", self._readings.embed))
        if self._readings.classifiers:
            routes.append(self._post("/v1/classify", self._readings.classify))
        pages = [page.strip() for page in self._settings.allow_origin.split(",") if page.strip()]
        crossing = Middleware(
            CORSMiddleware, allow_origins=pages, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
        return Starlette(
            routes=routes,
            middleware=[crossing] if pages else [],
            exception_handlers={HTTPException: _not_found},
        )

    def _post(self, path: str, answer: Answering) -> Route:
        async def handler(request: Request) -> Response:
            return await answer(request, read_json(await self._body(request)))

        return self._route(path, handler, "POST")

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
                response = _refused(Refused(500, FAILED))
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

    async def _body(self, request: Request) -> bytes:
        """
        Raises:
          Refused: too large, too slow, or compressed.
        """
        most = self._settings.max_request_bytes
        too_large = Refused(413, f"the body is larger than {most} bytes", code="request_too_large")
        if (coding := request.headers.get("content-encoding", "identity")) != "identity":
            raise Refused(415, f"the body is in content-encoding {coding}: send it as it is")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.read_timeout):
                async for piece in request.stream():
                    body += piece
                    if len(body) > most:
                        raise too_large
        except TimeoutError:
            raise Refused(408, "the body did not come in time", code="timeout") from None
        return bytes(body)

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [self._describe(name) for name in self._names]}
        )

    async def _model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name not in self._names:
            raise no_such_model(name, self._names)
        return JSONResponse(self._describe(name))

    def _describe(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "t5x_lite",
            "parent": self._names[name],
        }

    async def _health(self, request: Request) -> Response:
        if self._completing is None or self._completing.is_alive:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the device is gone: start the server again\n", 503)

    async def _ready(self, request: Request) -> Response:
        if self._readings.is_open and (self._completing is None or self._completing.is_open):
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


def _refused(refused: Refused) -> Response:
    return JSONResponse(refused.body(), refused.status, refused.headers())


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    if allowed := (error.headers or {}).get("Allow"):  # the path is there
        pages = "; --allow_origin lets web pages ask" if request.method == "OPTIONS" else ""
        refused = _refused(Refused(error.status_code, f"{message}; send {allowed}{pages}"))
        refused.headers["allow"] = allowed
        return refused
    path = re.sub(
        r"^(/+v1)*/+", "/", request.url.path
    )  # clients' addresses end in /v1, or not, or add it again
    routes = [route.path for route in request.app.routes]
    hints = [f"it is {there} here" for there in routes if there.removeprefix("/v1") == path]
    hints = hints or [hint for part, hint in _NOT_THERE.items() if path.startswith(part)]
    return _refused(Refused(error.status_code, "; ".join([message, *hints])))
