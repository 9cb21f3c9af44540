"""A sentence encoder with its tokenizer: texts -> vectors, in a few shapes.

Sources: Reimers and Gurevych 2019, Sentence-BERT (arXiv:1908.10084); Ni et al. 2021, Sentence-T5 (arXiv:2108.08877)
and GTR (arXiv:2112.07899).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.data.classifier_text import (
    ClassifierTokenizer,
    load_classifier_tokenizer,
    of_vocabulary,
)
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.decoding.call_shapes import bucket
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object
from t5x_lite.interop.classifiers import open_classifier, with_pads_of
from t5x_lite.interop.hf import open_encoder
from t5x_lite.interop.hub import sentence_encoder_directory
from t5x_lite.interop.sentence_files import SentenceModules, check_widths, read_modules
from t5x_lite.models.config import MODEL_TYPES, Execution
from t5x_lite.models.t5 import T5

_ROWS = 32  # texts of a batch
_LENGTH_STEP = 16
_T5_MAX_LENGTH = 512  # where nothing says how long: a T5 has no longest text
_ACTIVATIONS = {"Identity": lambda x: x, "Tanh": jnp.tanh, "ReLU": jax.nn.relu}


class SentenceEncoder:
    """Texts to vectors. `dim` is how many numbers a vector has, `max_length` the most tokens of a text."""

    def __init__(
        self, module: Any, params: Any, tokenizer: ClassifierTokenizer, modules: SentenceModules
    ):
        """module: with `encode(tokens, segment_ids)`, int32 [batch, length] each -> [batch, length, embed]."""
        self._module, self._params, self._modules = module, params, modules
        self._tokenizer = tokenizer
        self.max_length = tokenizer.max_length
        self.dim = modules.width(module.config.d_model)
        self.compilations = 0
        self._apply = jax.jit(self._trace)
        self._states_of = jax.jit(self._trace_states)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of texts, float32 [texts, dim], in their order; what is too long loses its end.

        Texts go in batches of few sizes (`decoding.call_shapes.bucket`), each of which compiles once: `compilations`
        counts. A text's vector does not depend on the others beyond rounding.

        Raises:
          InputError: a single text in place of a list, or a token that the model does not embed.
        """
        return self.embed_tokens(self.tokenize(texts))

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """`embed` of what `tokenize` gave."""
        vectors = np.zeros((len(ids), self.dim), np.float32)
        for chosen, tokens, lengths in self._batches(ids):
            vectors[chosen] = np.asarray(self._apply(self._params, tokens, lengths))[: len(chosen)]
        return vectors

    def token_states(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The last hidden states of each text, float32 [tokens, embed]: before pooling, those of special tokens among
        them (`around`); in the order of the texts, in batches as `embed` makes them.

        Raises:
          InputError: as `embed`.
        """
        ids = self.tokenize(texts)
        states: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(texts)
        for chosen, tokens, lengths in self._batches(ids):
            batch = np.asarray(self._states_of(self._params, tokens, lengths))
            for place, text in enumerate(chosen):
                states[text] = batch[place, : lengths[place]]
        return states

    @property
    def around(self) -> tuple[int, int]:
        """How many special tokens stand before each text, and how many behind it."""
        return self._tokenizer.around

    def _batches(
        self, ids: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Which texts, their tokens and lengths (`_batch`), the shortest texts first."""
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), _ROWS):
            chosen = order[start : start + _ROWS]
            yield chosen, *self._batch([ids[i] for i in chosen])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, special tokens and all, `max_length` at most.

        Raises:
          InputError: as `embed`.
        """
        if isinstance(texts, str):
            raise InputError("texts: expected a list of texts, got a single one; write [text]")
        stripped = [text.strip() if isinstance(text, str) else text for text in texts]
        if self._modules.lower:
            stripped = [text.lower() if isinstance(text, str) else text for text in stripped]
        ids = self._tokenizer.encode(stripped)
        largest = max((token for row in ids for token in row), default=0)
        if largest >= self._module.config.vocab_size:
            raise InputError(
                f"the encoder's tokenizer gave the token {largest}, but the model embeds"
                f" {self._module.config.vocab_size}: it is not the one that the model was trained with"
            )
        return ids

    def _batch(self, ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """int32 [rows, length], padded on the right, and int32 [rows]; rows that fill up are of one pad."""
        longest = max(1, *map(len, ids))
        length = min(bucket(longest, _LENGTH_STEP), max(self.max_length, longest))
        rows = bucket(len(ids))
        tokens = np.full((rows, length), self._module.config.pad_token_id, np.int32)
        lengths = np.ones(rows, np.int32)
        for row, one in enumerate(ids):
            tokens[row, : len(one)] = one
            lengths[row] = len(one)
        return tokens, lengths

    def _trace(self, params: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        """int32 [batch, length], int32 [batch] -> float32 [batch, dim]."""
        states = self._trace_states(params, tokens, lengths)
        x = _pooled(states, _there(tokens, lengths), self._modules.poolings)
        for layer in self._modules.last:
            if layer is None:
                x = x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12)
                continue
            x = jnp.matmul(x, layer.kernel, precision=jax.lax.Precision.HIGHEST)
            x = _ACTIVATIONS[layer.activation](x if layer.bias is None else x + layer.bias[None])
        return x

    def _trace_states(self, params: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        """int32 [batch, length], int32 [batch] -> float32 [batch, length, embed]."""
        self.compilations += 1  # Python runs while jit traces, and only then
        segment_ids = _there(tokens, lengths).astype(jnp.int32)
        states: Any = self._module.apply({"params": params}, tokens, segment_ids, method="encode")
        return states.astype(jnp.float32)


def _there(tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """bool [batch, length]: where a token stands."""
    return jnp.arange(tokens.shape[1])[None, :] < lengths[:, None]


def _pooled(states: jax.Array, there: jax.Array, poolings: Sequence[str]) -> jax.Array:
    """float32 [batch, length, embed], bool [batch, length] -> float32 [batch, embed x poolings]."""
    mask = there[:, :, None]
    total = jnp.sum(jnp.where(mask, states, 0), axis=1)
    count = jnp.maximum(jnp.sum(there, axis=1), 1)[:, None].astype(jnp.float32)
    by_name = {
        "cls_token": lambda: states[:, 0],
        "max_tokens": lambda: jnp.max(jnp.where(mask, states, -jnp.inf), axis=1),
        "mean_tokens": lambda: total / count,
        "mean_sqrt_len_tokens": lambda: total / jnp.sqrt(count),
    }
    return jnp.concatenate([by_name[name]() for name in poolings], axis=1)


def load_encoder(source: str | os.PathLike[str], *, dtype: str = "float32") -> SentenceEncoder:
    """Loads a sentence encoder in sentence-transformers' format: a BERT, RoBERTa or DistilBERT (all-MiniLM-L6-v2), or
    a T5's encoder (sentence-T5, GTR).

    >>> encoder = load_encoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.embed(["A text."]).shape                                 # doctest: +SKIP
    (1, 384)

    Args:
      source: a directory, or a hub id with or without "@revision".
      dtype: compute type of the transformer: "float32" or "bfloat16"; pooling and what follows are float32.

    Raises:
      InputError: no such model, files that are no sentence encoder, a module that is not read (it is named).
    """
    directory = sentence_encoder_directory(source)
    modules = read_modules(directory)
    folder = modules.transformer
    if read_object(folder / "config.json").get("model_type") in MODEL_TYPES:
        opened = open_encoder(folder)
        module: Any = T5(opened.config, Execution(dtype=dtype))
        params = opened.read(None)
        tokenizer = of_vocabulary(load_vocabulary(folder), modules.max_length or _T5_MAX_LENGTH)
    else:
        # With a label that no one reads: a sentence encoder has no head.
        classifier = open_classifier(folder, dtype, labels=("",), as_encoder=True)
        module, params = classifier.module, classifier.read()
        reach: int = module.config.max_length
        longest = min(reach, modules.max_length or reach)
        tokenizer = load_classifier_tokenizer(folder, longest)
        module = with_pads_of(module, tokenizer.pad_id, folder)
    check_widths(modules, module.config.d_model, directory)
    return SentenceEncoder(module, params, tokenizer, modules)
