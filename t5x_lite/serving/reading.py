"""Encoders and classifiers that are served beside, or in place of, a model that generates."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from t5x_lite.embedding.encoder import SentenceEncoder, load_encoder
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import TextClassifier, load_text_classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.serving import reading_format
from t5x_lite.serving.clients import unless_gone
from t5x_lite.serving.metrics import Metrics
from t5x_lite.serving.sections import ServeSettings
from t5x_lite.serving.trouble import (
    Refused,
    no_such_model,
    queue_full,
    refusal,
    stopping,
    too_long,
)

Named = Sequence[tuple[str, str]]


class Readings:
    """Encoders and classifiers by name. One request is computed at a time; so many others wait as `queue` says.

    A batch of another shape compiles once (`decoding.call_shapes`): after a while nothing does.
    """

    def __init__(
        self,
        encoders: Mapping[str, SentenceEncoder],
        classifiers: Mapping[str, TextClassifier],
        settings: ServeSettings,
        metrics: Metrics,
    ):
        self.encoders, self.classifiers = encoders, classifiers
        self._settings, self._metrics = settings, metrics
        self._worker = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._asked, self.is_open = 0, True

    @property
    def names(self) -> list[str]:
        """Of all of them."""
        return [*self.encoders, *self.classifiers]

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._asked

    def close(self) -> None:
        """Takes nothing new."""
        self.is_open = False

    def stop(self) -> None:
        """Ends, after what is being computed."""
        self.close()
        self._worker.shutdown(cancel_futures=True)

    async def embed(self, request: Request, body: Mapping[str, Any]) -> Response:
        """The vectors that a body asks for, as OpenAI's embeddings.

        Raises:
          Refused: it asks for what there is not, too many wait, or it took too long. ClientDisconnect: the client went.
        """
        asked = reading_format.read_embedding(body)
        encoder = _of(self.encoders, asked.model)
        if asked.dimensions not in (None, encoder.dim):
            raise Refused(
                400,
                f"dimensions: {asked.model} has {encoder.dim}, leave it out",
                param="dimensions",
            )
        ids, vectors = await self._compute(
            request, functools.partial(_embedded, encoder, asked.texts)
        )
        return JSONResponse(reading_format.embeddings(asked, vectors, self._counted(ids)))

    async def classify(self, request: Request, body: Mapping[str, Any]) -> Response:
        """The probabilities of labels that a body asks for.

        Raises:
          Refused, ClientDisconnect: as `embed`.
        """
        asked = reading_format.read_classification(body)
        classifier = _of(self.classifiers, asked.model)
        ids, shares = await self._compute(
            request, functools.partial(_classified, classifier, asked.texts)
        )
        answer = reading_format.classifications(
            asked, classifier.labels, shares, self._counted(ids)
        )
        return JSONResponse(answer)

    def _counted(self, count: int) -> int:
        self._metrics.prompt_tokens.inc(count)
        return count

    async def _compute(
        self, request: Request, work: Callable[[], tuple[int, np.ndarray]]
    ) -> tuple[int, np.ndarray]:
        if not self.is_open:
            raise stopping()
        if self._asked > self._settings.queue:
            raise queue_full()
        self._asked += 1
        seconds = self._settings.request_timeout
        try:
            async with asyncio.timeout(seconds):
                computed = asyncio.get_running_loop().run_in_executor(self._worker, work)
                return await unless_gone(request, computed)
        except TimeoutError:
            raise too_long(seconds) from None
        except InputError as error:
            raise refusal(error) from None
        finally:
            self._asked -= 1


def load_readings(settings: ServeSettings, metrics: Metrics, taken: Sequence[str]) -> Readings:
    """Loads the encoders and classifiers of the flags.

    taken: names that are others' already.

    Raises:
      InputError: no such encoder or classifier, two of one name, or a model that reads pairs of texts.
    """
    names = list(taken)
    for flag, named in (("encoder", settings.encoder), ("classifier", settings.classifier)):
        for name, directory in named:
            if name in names:
                raise InputError(f"--{flag} {name}={directory}: there is a {name!r} already")
            names.append(name)
    encoders = {
        name: load_encoder(directory, dtype=settings.dtype) for name, directory in settings.encoder
    }
    classifiers = {
        name: load_text_classifier(directory, settings.dtype)
        for name, directory in settings.classifier
    }
    for name, classifier in classifiers.items():
        if isinstance(classifier.module, T5Scorer):
            raise InputError(
                f"--classifier {name}: this model reads a prompt and a response apart; classifiers of one text are"
                " served"
            )
    return Readings(encoders, classifiers, settings, metrics)


def _of(named: Mapping[str, Any], name: str) -> Any:
    if name not in named:
        raise no_such_model(name, named)
    return named[name]


def _embedded(encoder: SentenceEncoder, texts: Sequence[str]) -> tuple[int, np.ndarray]:
    ids = encoder.tokenize(texts)
    return sum(map(len, ids)), encoder.embed_tokens(ids)


def _classified(classifier: TextClassifier, texts: Sequence[str]) -> tuple[int, np.ndarray]:
    return classifier.count_tokens(texts), classifier.probabilities(texts)
