"""Answers to requests for completions: a JSON object, or server-sent events."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from t5x_lite.serving.completions import Completion
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.served import Served
from t5x_lite.serving.texts import OutputText, logprobs_object
from t5x_lite.serving.tickets import Part, Ticket

DONE = b"data: [DONE]\n\n"


@dataclasses.dataclass
class Answer:
    """The answer to one request while it is made. prompt_tokens: of all its prompts."""

    served: Served
    metrics: Metrics
    asked: Completion
    ticket: Ticket
    prompt_tokens: int

    def __post_init__(self) -> None:
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        vocabulary, outputs = self.served.t5.tokenizer, range(self.ticket.outputs)
        self._texts = [OutputText(vocabulary, self.asked.stop) for _ in outputs]
        self._shown = [0 for _ in outputs]
        self._tokens = 0
        self._seed = {"seed": self.asked.seed} if self.served.samples(self.asked) else {}

    async def whole(self) -> dict[str, Any]:
        """The object, once all outputs have ended."""
        parts: list[list[Part]] = [[] for _ in self._texts]
        async for part in self._counted():
            parts[part.index].append(part)
        choices = [self._choice(_joined(of_output)) for of_output in parts]
        return self._object(choices) | {"usage": self._usage()}

    async def events(self) -> AsyncIterator[bytes]:
        """The object's choices piece by piece, as they come."""
        async for part in self._counted():
            choice = self._choice(part)
            if choice["text"] or part.ended or choice["logprobs"] or self.asked.with_token_ids:
                yield event(self._object([choice]))
        if self.asked.with_usage:
            yield event(self._object([]) | {"usage": self._usage()})
        yield DONE

    async def _counted(self) -> AsyncIterator[Part]:
        begin = self.ticket.created
        async for part in self.ticket.parts(self.served.settings.request_timeout):
            if not self._tokens:
                self.metrics.first_token.observe(time.monotonic() - begin)
            self._tokens += len(part.tokens)
            yield part
        self.metrics.latency.observe(time.monotonic() - begin)

    def _choice(self, part: Part) -> dict[str, Any]:
        number = part.index
        text = self._texts[number].push(part.tokens, ended=part.ended is not None)
        logprobs = None
        if self.asked.logprobs is not None:
            served = self.served
            logprobs = logprobs_object(
                part,
                served.token_texts,
                served.eos_token_ids,
                self.asked.logprobs,
                self._shown[number],
            )
        self._shown[number] += len(text)
        choice = {
            "index": number,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": part.ended,
        }
        return choice | ({"token_ids": part.tokens} if self.asked.with_token_ids else {})

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self.asked.model,
            "choices": choices,
            **self._seed,
        }

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self._tokens,
            "total_tokens": self.prompt_tokens + self._tokens,
        }


def event(content: Any) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _joined(parts: list[Part]) -> Part:
    return Part(
        parts[0].index,
        [token for part in parts for token in part.tokens],
        [logprob for part in parts for logprob in part.logprobs],
        [others for part in parts for others in part.alternatives],
        parts[-1].ended,
    )
