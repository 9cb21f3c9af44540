"""The Python surface for notebooks and libraries: load a model, prompt it, score with it, save it.

>>> t5 = load_pretrained("google/flan-t5-base")                      # doctest: +SKIP
>>> t5.generate(["Summarize: ..."], max_new_tokens=50)               # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import Params
from t5x_lite.models.t5 import T5

_LENGTH_MULTIPLE = 64  # inputs are padded to multiples of this, so that few lengths are compiled
_ENCODER_INPUT = "encoder_input_tokens"
_LOGITS_INPUTS = (
    _ENCODER_INPUT, "decoder_input_tokens", "encoder_segment_ids", "decoder_segment_ids",
)  # fmt: skip


class Pretrained:
    """A model with its tokenizer. `config`, `params` (canonical tree) and `tokenizer` are plain attributes."""

    def __init__(
        self,
        config: T5Config,
        params: Params,
        tokenizer: Vocabulary,
        execution: Execution,
        settings: GenerationSettings,
    ):
        self.config = config
        self.params = params
        self.tokenizer = tokenizer
        self.settings = settings
        self._model = T5(config, execution)
        self._generator = Generator(config, execution)
        self._logits = jax.jit(self._model.apply)

    def generate(self, texts: Sequence[str], *, seed: int = 0, **settings: Any) -> list[str]:
        """One text a prompt (num_return_sequences texts a prompt, side by side, if set).

        Args:
          texts: prompts.
          seed: of sampling.
          settings: GenerationConfig's names, over those of the checkpoint's generation_config.json.

        Raises:
          InputError: a setting that is unknown, contradicts another or does not fit the model; a single text in place
            of a list.
        """
        if not texts:
            return []
        return self.tokenizer.decode(
            self.generate_tokens(self.encode(texts), seed=seed, **settings).tolist()
        )

    def generate_tokens(
        self, encoder_input_tokens: np.ndarray | jax.Array, *, seed: int = 0, **settings: Any
    ) -> np.ndarray:
        """Generates for int32 [batch, length], padded on either side.

        Returns:
          int32 [batch x num_return_sequences, max_new_tokens], without the start token, with eos, then pads.

        Raises:
          InputError: as `generate`, and an array that is not two-dimensional.
        """
        if np.ndim(encoder_input_tokens) != 2:
            shape = np.shape(encoder_input_tokens)
            raise InputError(f"{_ENCODER_INPUT}: expected [batch, length], got the shape {shape}")
        output = self._generator.generate(
            self.params,
            encoder_input_tokens,
            self.settings.updated(settings),
            jax.random.key(seed),
        )
        return np.asarray(output.tokens)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts with eos, right-padded: int32 [batch, length].

        Raises:
          InputError: a single text in place of a list.
        """
        if isinstance(texts, str):
            raise InputError("texts: expected a list of texts, got a single one; write [text]")
        ids = self.tokenizer.encode(texts, add_eos=True)
        longest = max((len(row) for row in ids), default=1)
        length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        tokens = np.full((len(ids), length), self.config.pad_token_id, np.int32)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = sequence
        return tokens

    def logits(self, batch: Mapping[str, Any]) -> jax.Array:
        """Teacher-forced logits, float32 [batch, decoder_length, vocab].

        Args:
          batch: encoder_input_tokens, decoder_input_tokens int32 [batch, length], and optionally both segment ids;
            other keys of a training batch are not read.

        Raises:
          InputError: one of the two inputs is missing.
        """
        for name in _LOGITS_INPUTS[:2]:
            if name not in batch:
                raise InputError(f"logits: the batch has no {name}; it has {', '.join(batch)}")
        arrays = (
            None if batch.get(name) is None else jnp.asarray(batch[name], jnp.int32)
            for name in _LOGITS_INPUTS
        )
        return self._logits({"params": self.params}, *arrays)

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face directory (safetensors, configs, tokenizer) that transformers and this loader read."""
        save_hf(directory, self.config, self.params, self.tokenizer)


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    param_dtype: str | None = None,
) -> Pretrained:
    """Loads a T5 and its tokenizer.

    Args:
      source: a Hugging Face id, with "@revision" if wanted ("google/flan-t5-base"), a directory in its format, or the
        workdir of a training run.
      dtype: compute type: "float32", "bfloat16" or "float16".
      param_dtype: type of the weights; None keeps the file's.

    Raises:
      InputError: no such model, no network for a hub id, or files that are no T5.
    """
    directory = model_directory(source)
    config, params = load_hf(directory, param_dtype=param_dtype)
    file = directory / "generation_config.json"
    settings = GenerationSettings.from_file(file) if file.is_file() else GenerationSettings()
    return Pretrained(config, params, load_vocabulary(directory), Execution(dtype=dtype), settings)
