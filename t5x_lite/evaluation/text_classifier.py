"""A classifier with its own tokenizer: texts -> logits, on the devices, in a few shapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t5x_lite.data.classifier_text import ClassifierTokenizer, load_classifier_tokenizer
from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import Classifier, open_classifier
from t5x_lite.models.classifier_init import abstract_module, token_example
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.parallel.shardings import fitting_shardings, row_multiple
from t5x_lite.parallel.sharing import share_out
from t5x_lite.params.gather import whole

_ROWS = 32  # a batch, or the next number that the mesh divides: fixed, so that lengths alone make new shapes
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
        """float32 [texts, labels], in the order of the texts; an empty text is a text of special tokens alone.

        Of several processes all give the same texts; each tokenizes some, and their devices score all together.
        """
        ids = share_out(
            len(texts),
            lambda own: self.tokenizer.encode([text if text else " " for text in texts[own]]),
        )
        pad = self.module.config.pad_token_id
        mesh = jax.sharding.get_abstract_mesh()
        multiple = 1 if mesh.empty else row_multiple(mesh)
        rows = -(-_ROWS // multiple) * multiple
        result = np.zeros((len(ids), len(self.labels)), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            longest = max(1, *(len(ids[i]) for i in chosen))
            length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
            length = min(length, max(self.tokenizer.max_length, longest))
            batch = np.full((rows, length), pad, np.int32)
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
    mesh: Mesh | None = None,
) -> TextClassifier:
    """A classifier of a directory, a finished run or a hub id, with its tokenizer.

    mesh: what the weights are laid over, by the table of rules; None: the first device.

    Raises:
      InputError: as `interop.classifiers.open_classifier`, or there is no tokenizer.
    """
    opened = open_classifier(source, dtype)
    module = opened.module
    longest = module.config.max_length if isinstance(module, EncoderClassifier) else _T5_MAX_LENGTH
    tokenizer = load_classifier_tokenizer(opened.directory, longest)
    shardings = None
    if mesh is not None:
        shardings = fitting_shardings(*abstract_module(module, token_example()), mesh)
    return TextClassifier(module, opened.read(shardings=shardings), tokenizer, put)
