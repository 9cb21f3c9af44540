"""Bodies of requests for embeddings and classifications, and their answers: OpenAI's format, and vLLM's for classes."""

from __future__ import annotations

import base64
import dataclasses
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.serving.completions import IGNORED, model_of, wrong
from t5x_lite.serving.trouble import Refused

_MOST_TEXTS = 2048  # OpenAI's limit


@dataclasses.dataclass(frozen=True)
class Reading:
    """Texts for a model to read."""

    model: str
    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Embedding(Reading):
    """Texts whose vectors are asked for, as lists of numbers or in base64 (float32, little-endian).

    dimensions: None where nobody asked.
    """

    base64: bool
    dimensions: int | None


def read_embedding(body: Mapping[str, Any]) -> Embedding:
    """Reads a request for embeddings.

    Raises:
      Refused: a field that is missing, of another type, or unknown.
    """
    given = _fields(body, ("model", "input", "encoding_format", "dimensions"))
    encoding = given.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise wrong("encoding_format", encoding, "'float' or 'base64'")
    dimensions = given.get("dimensions")
    if dimensions is not None and type(dimensions) is not int:
        raise wrong("dimensions", dimensions, "a whole number")
    return Embedding(model_of(given), _texts(given), encoding == "base64", dimensions)


def read_classification(body: Mapping[str, Any]) -> Reading:
    """Reads a request for classes.

    Raises:
      Refused: as `read_embedding`.
    """
    given = _fields(body, ("model", "input"))
    return Reading(model_of(given), _texts(given))


def embeddings(asked: Embedding, vectors: np.ndarray, tokens: int) -> dict[str, Any]:
    """The answer. vectors: float32 [texts, dim]. tokens: of all texts."""
    shown: list[Any] = vectors.tolist()
    if asked.base64:
        rows = vectors.astype("<f4")
        shown = [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]
    data = [
        {"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(shown)
    ]
    return {"object": "list", "data": data, "model": asked.model, "usage": _usage(tokens)}


def classifications(
    asked: Reading, labels: Sequence[str], shares: np.ndarray, tokens: int
) -> dict[str, Any]:
    """The answer. shares: float32 [texts, labels]; label: the one with the largest."""
    data = [
        {
            "index": index,
            "label": labels[int(np.argmax(row))],
            "probs": row.tolist(),
            "num_classes": len(labels),
            "scores": dict(zip(labels, row.tolist(), strict=True)),
        }
        for index, row in enumerate(shares)
    ]
    return {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": asked.model,
        "data": data,
        "usage": _usage(tokens),
    }


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _fields(body: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name not in (*known, *IGNORED):
            raise Refused(
                400, f"{name}: there is no such field; there are: {', '.join(known)}", param=name
            )
    return given


def _texts(given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("input")
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not 0 < len(several) <= _MOST_TEXTS:
        raise wrong("input", value, f"a text, or a list of 1 to {_MOST_TEXTS}")
    for text in several:
        if not isinstance(text, str) or not text:
            raise wrong("input", text, "texts that are not empty (token ids are not read here)")
    return tuple(several)
