"""A classifier with its own tokenizer: texts -> logits, on the devices, in a few shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.data.classifier_text import ClassifierTokenizer, load_classifier_tokenizer
from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import Classifier, open_classifier
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.params.gather import whole

_ROWS = 32  # a batch: fixed, so that lengths alone make new shapes
_LENGTH_MULTIPLE = 32
# A T5 encoder has no longest text; relative positions saturate. This bounds the memory.
_T5_MAX_LENGTH = 512


class TextClassifier:
    """Scores texts. `labels` are the names of the logits; a reward model has one.

    put: places rows on the devices (`parallel.shardings.put_batch`'s sharding); the default is the first device.
    """

    def __init__(
        self,
        module: Classifier,
        params: Any,
        tokenizer: ClassifierTokenizer,
        put: Callable[[np.ndarray], jax.Array] = jnp.asarray,
    ):
        self.module = module
        self.params = params
        self.tokenizer = tokenizer
        self.labels = module.labels
        self._put = put
        self._apply = jax.jit(lambda params, tokens: module.apply({"params": params}, tokens))

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, labels], in the order of the texts; an empty text is a text of special tokens alone."""
        ids = self.tokenizer.encode([text if text else " " for text in texts])
        pad = self.module.config.pad_token_id
        result = np.zeros((len(ids), len(self.labels)), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), _ROWS):
            chosen = order[start : start + _ROWS]
            longest = max(1, *(len(ids[i]) for i in chosen))
            length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
            length = min(length, max(self.tokenizer.max_length, longest))
            batch = np.full((_ROWS, length), pad, np.int32)
            for row, i in enumerate(chosen):
                batch[row, : len(ids[i])] = ids[i]
            logits = whole(self._apply(self.params, self._put(batch)))
            result[chosen] = logits[: len(chosen)]
        return result

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [texts, labels]: softmax over the labels, of a single label the sigmoid."""
        logits = self.logits(texts).astype(np.float64)
        if len(self.labels) == 1:
            return (1 / (1 + np.exp(-logits))).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)

    def index(self, label: str) -> int:
        """Which logit a label is.

        Raises:
          InputError: the classifier has no such label; those it has are listed.
        """
        if label not in self.labels:
            raise InputError(
                f"the classifier has no label {label!r}; it has {', '.join(self.labels)}"
            )
        return self.labels.index(label)


def load_text_classifier(
    source: str | os.PathLike[str],
    dtype: str = "float32",
    put: Callable[[np.ndarray], jax.Array] = jnp.asarray,
) -> TextClassifier:
    """A classifier of a directory, a finished run or a hub id, with its tokenizer.

    Raises:
      InputError: as `interop.classifiers.open_classifier`, or there is no tokenizer.
    """
    opened = open_classifier(source, dtype)
    module = opened.module
    longest = module.config.max_length if isinstance(module, EncoderClassifier) else _T5_MAX_LENGTH
    tokenizer = load_classifier_tokenizer(opened.directory, longest)
    return TextClassifier(module, opened.read(), tokenizer, put)
