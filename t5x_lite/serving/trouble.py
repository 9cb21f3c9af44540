"""Why a request gets no answer, in OpenAI's words: a status, a message, and which field is to blame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from t5x_lite.errors import InputError

# What OpenAI calls the kinds of errors, by status.
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
_RETRY_AFTER = 1  # seconds
FAILED = "the server failed at this request; its log says how"
_FIELD = re.compile(r"\bgeneration\.(\w+)|unknown generation setting '(\w+)'")


class Refused(Exception):
    """A request that is not served. param: the field to blame. code: a word for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def body(self) -> dict[str, Any]:
        """As OpenAI's clients read it."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """What belongs to the status."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def refusal(error: InputError) -> Refused:
    """Bad input as an answer: what it says of `generation.X` it says of the request's field X."""
    message = str(error).replace("num_return_sequences", "n")
    found = _FIELD.search(message)
    field = next((name for name in found.groups() if name), None) if found else None
    plain = message.replace("generation.", "").removeprefix("generation: ")
    return Refused(400, plain, param=field)


def too_long(seconds: float) -> Refused:
    """A request that was not answered in so many seconds."""
    return Refused(504, f"the request took longer than {seconds:g} s", code="timeout")


def no_such_model(name: str, names: Iterable[str]) -> Refused:
    """A request for a model that is not served."""
    return Refused(
        404,
        f"the model {name!r} does not exist; there are: {', '.join(names)}",
        param="model",
        code="model_not_found",
    )


def stopping() -> Refused:
    """A request that comes after SIGTERM."""
    return Refused(503, "the server is stopping", retry_after=_RETRY_AFTER)


def queue_full() -> Refused:
    """A request for which there is no place to wait."""
    return Refused(
        429,
        "too many requests are waiting; try again later",
        code="queue_full",
        retry_after=_RETRY_AFTER,
    )
