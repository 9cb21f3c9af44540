"""A classifier or reward model with its own tokenizer: texts -> logits, on the devices, in a few shapes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t5x_lite.data.classifier_text import (
    ClassifierTokenizer,
    Reading,
    load_classifier_tokenizer,
    read_reading,
)
from t5x_lite.data.kept_responses import render_kept
from t5x_lite.data.preferences import prompt_template
from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import Classifier, open_classifier, with_pads_of
from t5x_lite.models.classifier_init import abstract_module, text_examples
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.masks import segment_ids_from_tokens
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.parallel.shardings import fitting_shardings, row_multiple, with_shardings
from t5x_lite.parallel.sharing import share_out
from t5x_lite.params.gather import whole

_ROWS = 32  # a batch, or the next number that the mesh divides: fixed, so that lengths alone make new shapes
_LENGTH_MULTIPLE = 32
# A T5 encoder has no longest text; relative positions saturate. This bounds the memory.
_T5_MAX_LENGTH = 512
_PARAM_DTYPE = "float32"


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
        self._apart = isinstance(module, T5Scorer)
        self._apply = logits_of(module)
        self._mean_states = jax.jit(functools.partial(_mean_states, module))

    def render(self, template: str, rows: Sequence[Mapping[str, str]]) -> list[Any]:
        """What `logits` reads of each row: the template filled (so that its response stays, `data.kept_responses`), or
        of a `T5Scorer` (prompt, response).

        Raises:
          InputError: a template that does not fit the rows, or this model.
        """
        if not self._apart:
            return render_kept(template, rows, self.tokenizer)
        prompt = prompt_template(template)
        return [(prompt.render(row), row["response"]) for row in rows]

    def logits(self, texts: Sequence[Any]) -> np.ndarray:
        """float32 [texts, labels], in the order of the texts; an empty text is a text of special tokens alone.

        Of several processes all give the same texts; each tokenizes some, and their devices score all together.

        texts: strings; of a model that reads prompt and response apart, pairs of them.

        Raises:
          InputError: a token that the model does not embed.
        """
        return self._read(texts, self._apply, len(self.labels))

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the model reads of texts, special tokens and all."""
        return sum(len(side) for sides in self._tokenized(texts) for side in sides)

    def mean_states(self, texts: Sequence[str]) -> np.ndarray:
        """The mean of the last hidden states over each text's tokens, float32 [texts, embed]: what a probe learns from.

        Raises:
          InputError: the encoder is a T5's.
        """
        if not isinstance(self.module, EncoderClassifier):
            raise InputError("hidden states are read of BERT, RoBERTa and DistilBERT alone")
        return self._read(texts, self._mean_states, self.module.config.d_model)

    def _read(
        self, texts: Sequence[Any], apply: Callable[..., jax.Array], width: int
    ) -> np.ndarray:
        ids = share_out(len(texts), lambda own: self._tokenized(texts[own]))
        mesh = jax.sharding.get_abstract_mesh()
        rows = batch_rows(1 if mesh.empty else row_multiple(mesh))
        result = np.zeros((len(texts), width), np.float32)
        order = sorted(range(len(texts)), key=lambda i: [len(side) for side in ids[i]])
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            sides = zip(*(ids[i] for i in chosen), strict=True)
            batches = [self._put(self._batch(side, rows)) for side in sides]
            result[chosen] = whole(apply(self.params, *batches))[: len(chosen)]
        return result

    def _tokenized(self, texts: Sequence[Any]) -> list[list[list[int]]]:
        """Of each text its sides (one, or prompt and response), as token ids."""
        sides = zip(*texts, strict=True) if self._apart else [texts]
        encoded = [self.tokenizer.encode(side) for side in sides]
        largest = max((token for side in encoded for row in side for token in row), default=0)
        if largest >= self.module.config.vocab_size:
            raise InputError(
                f"the classifier's tokenizer gave the token {largest}, but the model embeds"
                f" {self.module.config.vocab_size}: it is not the one that the model was trained with"
            )
        return [list(each) for each in zip(*encoded, strict=True)]

    def _batch(self, ids: Sequence[Sequence[int]], rows: int) -> np.ndarray:
        """int32 [rows, length], padded on the right."""
        longest = max(1, *map(len, ids))
        # In coarser steps where two lengths make a shape.
        multiple = _LENGTH_MULTIPLE * (2 if self._apart else 1)
        length = min(-(-longest // multiple) * multiple, max(self.tokenizer.max_length, longest))
        batch = np.full((rows, length), self.module.config.pad_token_id, np.int32)
        for row, one in zip(batch, ids, strict=False):
            row[: len(one)] = one
        return batch

    def probabilities(self, texts: Sequence[Any]) -> np.ndarray:
        """float32 [texts, labels]: what transformers' pipeline gives.

        Softmax over the labels; of a single label, and of labels that do not exclude each other (a problem_type of
        multi_label_classification), the sigmoid of each; of a regression the numbers as they are.
        """
        logits = self.logits(texts).astype(np.float64)
        kind = getattr(self.module.config, "problem_type", "")
        if kind == "regression":
            return logits.astype(np.float32)
        if kind == "multi_label_classification" or len(self.labels) == 1:
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


def _mean_states(module: Any, params: Any, tokens: jax.Array) -> jax.Array:
    """int32 [batch, length] -> float32 [batch, embed]."""
    segment_ids = segment_ids_from_tokens(tokens, module.config.pad_token_id)
    states: Any = module.apply({"params": params}, tokens, segment_ids, method="encode")
    there = (segment_ids != 0)[:, :, None]
    count = jnp.maximum(jnp.sum(there, axis=1), 1)
    return jnp.sum(states.astype(jnp.float32) * there, axis=1) / count


def logits_of(module: Classifier) -> Any:
    """Makes `logits(params, *tokens) -> float32 [batch, labels]`, jitted; tokens: int32 [batch, length] a side."""
    return jax.jit(lambda params, *tokens: module.apply({"params": params}, *tokens))


def batch_rows(multiple: int) -> int:
    """Rows of a batch that is scored, where they must be a multiple of that."""
    return -(-_ROWS // multiple) * multiple


def longest_text(module: Classifier, reading: Reading) -> int:
    """Tokens of a text, at most: as in its training, where that is known, and no more than the model has positions."""
    if isinstance(module, EncoderClassifier):
        reach = module.config.max_length
        return min(reach, reading.max_length or reach)
    return reading.max_length or _T5_MAX_LENGTH


def abstract_params(module: Classifier, mesh: Mesh) -> Any:
    """A classifier's parameters as they lie on a mesh, by the table of rules: a `jax.ShapeDtypeStruct` a leaf."""
    shapes, axes = abstract_module(module, *text_examples(module))
    return with_shardings(shapes, fitting_shardings(shapes, axes, mesh), _PARAM_DTYPE)


def load_text_classifier(
    source: str | os.PathLike[str],
    dtype: str = "float32",
    put: Callable[[np.ndarray], jax.Array] = jnp.asarray,
    mesh: Mesh | None = None,
) -> TextClassifier:
    """A classifier of a directory, a finished run or a hub id, with its tokenizer.

    A text has at most as many tokens as in its training, where that is known (`data.classifier_text.Reading`).

    mesh: what the weights are laid over, by the table of rules; None: the first device.

    Raises:
      InputError: as `interop.classifiers.open_classifier`, or there is no tokenizer.
    """
    opened = open_classifier(source, dtype)
    module, reading = opened.module, read_reading(opened.directory)
    tokenizer = load_classifier_tokenizer(opened.directory, longest_text(module, reading))
    tokenizer.template = reading.template
    module = with_pads_of(module, tokenizer.pad_id, source)
    shardings = None
    if mesh is not None:
        shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract_params(module, mesh))
    return TextClassifier(module, opened.read(_PARAM_DTYPE, shardings), tokenizer, put)
