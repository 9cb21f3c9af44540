"""The Python surface for notebooks and libraries: load a model, prompt it, score with it, save it.

>>> t5 = load_pretrained("google/flan-t5-base")                      # doctest: +SKIP
>>> t5.generate(["Summarize: ..."], max_new_tokens=50)               # doctest: +SKIP
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite import streams
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.decoding.call_shapes import LENGTH_STEP, bucket, pad_call
from t5x_lite.decoding.generate import GenerationOutput, Generator
from t5x_lite.decoding.scored import ScoredText, scored_texts
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stream import Streamer, text_pieces
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.peft import is_adapter, load_adapter, read_config, save_adapter
from t5x_lite.interop.t5x import is_t5x, open_t5x
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import Params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import Adapter, variables
from t5x_lite.params.lora import merge

_ENCODER_INPUT = "encoder_input_tokens"
_LOGITS_INPUTS = (
    _ENCODER_INPUT, "decoder_input_tokens", "encoder_segment_ids", "decoder_segment_ids",
)  # fmt: skip


class Pretrained:
    """A model with its tokenizer. `config`, `params` (canonical tree) and `tokenizer` are plain attributes; so are
    `adapters`, by name, and `adapter`, the name of the one that acts (None: the base alone).
    """

    def __init__(
        self,
        config: T5Config,
        params: Params,
        tokenizer: Vocabulary,
        execution: Execution,
        settings: GenerationSettings,
        source: str = "",
    ):
        """source: where the base is to be had, for the adapters that are saved; "" if nowhere."""
        self.config = config
        self.params = params
        self.tokenizer = tokenizer
        self.settings = settings
        self.source = source
        self.adapters: dict[str, Adapter] = {}
        self.adapter: str | None = None
        self._model = T5(config, execution)
        self._generator = Generator(config, execution, tokenizer)
        self._streamer = Streamer(config, execution, tokenizer)
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

    def generate_with_scores(
        self, texts: Sequence[str], *, seed: int = 0, **settings: Any
    ) -> list[ScoredText]:
        """What `generate` gives, each text with its tokens, beam score and log-probabilities, from the same loop.

        What transformers gives for return_dict_in_generate and output_scores: `score` is its sequences_scores, and
        `processed_logprobs` its transition scores.

        Args and errors: as `generate`.
        """
        if not texts:
            return []
        output = self._generate(self.encode(texts), seed, settings, with_logprobs=True)
        return scored_texts(output, self.tokenizer)

    def stream(self, text: str, *, seed: int = 0, **settings: Any) -> Iterator[str]:
        """The text that `generate([text], ...)` gives, in pieces, each as soon as it is chosen.

        Raises:
          InputError: as `generate`, and beams or several sequences: at once, before anything is compiled.
        """
        tokens = self.stream_tokens(self.encode([text]), seed=seed, **settings)
        return text_pieces(tokens, self.tokenizer)

    def stream_tokens(
        self, encoder_input_tokens: np.ndarray | jax.Array, *, seed: int = 0, **settings: Any
    ) -> Iterator[int]:
        """The tokens that `generate_tokens` gives for int32 [1, length], up to and with eos, each as soon as chosen.

        Each new length, and each new structure of settings, compiles: pad to few lengths (`encode` does).

        Raises:
          InputError: as `stream`, and an array that is not [1, length].
        """
        return self._streamer.stream(
            self.params,
            encoder_input_tokens,
            self.settings.updated(settings),
            streams.key(seed, "decode"),
            adapters=self._acting(),
        )

    @property
    def compilations(self) -> int:
        """Programs compiled so far to generate and to stream: a new length or structure of settings compiles, another
        temperature does not.
        """
        return self._generator.compilations + self._streamer.compilations

    def generate_tokens(
        self, encoder_input_tokens: np.ndarray | jax.Array, *, seed: int = 0, **settings: Any
    ) -> np.ndarray:
        """Generates for int32 [batch, length], padded on either side.

        Rows and length are filled up to few sizes (see `decoding.call_shapes`), so that calls of other sizes mostly
        compile nothing; a row gives what it gives alone.

        Returns:
          int32 [batch x num_return_sequences, max_new_tokens], without the start token, with eos, then pads.

        Raises:
          InputError: as `generate`, and an array that is not two-dimensional.
        """
        output = self._generate(encoder_input_tokens, seed, settings, with_logprobs=False)
        return np.asarray(output.tokens)

    def _generate(
        self,
        encoder_input_tokens: np.ndarray | jax.Array,
        seed: int,
        settings: Mapping[str, Any],
        *,
        with_logprobs: bool,
    ) -> GenerationOutput:
        """Generates in one of few shapes; the rows asked for, on the host."""
        shape = np.shape(encoder_input_tokens)
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"{_ENCODER_INPUT}: expected [batch, length], got the shape {shape}")
        asked = self.settings.updated(settings)
        prepare(asked, self.config, shape[0], self.tokenizer)  # refused as asked, not as padded
        call = pad_call(np.asarray(encoder_input_tokens), asked, self.config.pad_token_id)
        output = self._generator.generate(
            self.params,
            call.encoder_input_tokens,
            call.settings,
            streams.key(seed, "decode"),
            row_ids=call.row_ids,
            with_logprobs=with_logprobs,
            adapters=self._acting(),
        )
        rows = shape[0] * asked.num_return_sequences
        return jax.tree.map(lambda x: np.asarray(x)[:rows] if x.ndim else x, output)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts with eos, right-padded to one of few lengths: int32 [batch, length].

        Raises:
          InputError: a single text in place of a list.
        """
        if isinstance(texts, str):
            raise InputError("texts: expected a list of texts, got a single one; write [text]")
        ids = self.tokenizer.encode(texts, add_eos=True)
        longest = max((len(row) for row in ids), default=1)
        tokens = np.full(
            (len(ids), bucket(longest, LENGTH_STEP)), self.config.pad_token_id, np.int32
        )
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
        return self._logits(variables(self.params, self._acting()), *arrays)

    def load_adapter(self, directory: str | os.PathLike[str], name: str = "default") -> None:
        """Puts a saved adapter (peft's format: LoRA, rsLoRA, DoRA, prompt tuning) beside the model, and lets it act.

        Args:
          directory: of the adapter, or the workdir of the run that trained it.
          name: under which `set_adapter` finds it again; one of the same name is replaced.

        Raises:
          InputError: there is no adapter, it is of a kind that is not read, or it was trained on another base.
        """
        adapter = load_adapter(_adapter_directory(directory) or directory, self.config, self.params)
        self.adapters[name] = Adapter(adapter.settings, jax.tree.map(jnp.asarray, adapter.tree))
        self.adapter = name

    def set_adapter(self, name: str | None) -> None:
        """Chooses the adapter that acts from now on; None: the base alone.

        Raises:
          InputError: no adapter of this name.
        """
        if name is not None and name not in self.adapters:
            loaded = ", ".join(self.adapters) or "none"
            raise InputError(f"adapter {name!r}: there is none of this name; loaded: {loaded}")
        self.adapter = name

    def save_adapter(self, directory: str | os.PathLike[str]) -> None:
        """Writes the adapter that acts, in peft's format.

        Raises:
          InputError: none acts, or the directory cannot be written.
        """
        save_adapter(directory, self.config, self.params, self._chosen(), self.source)

    def merge_adapter(self) -> None:
        """Makes the LoRA adapter that acts part of `params`, for decoding without its cost and for `save_pretrained`.

        The adapters are gone afterwards: they belong to the base that no longer is.

        Raises:
          InputError: none acts, or it is a soft prompt, which is no part of the weights.
        """
        self.params = merge(self.params, self._chosen().tree)
        self.adapters, self.adapter = {}, None

    def _chosen(self) -> Adapter:
        if self.adapter is None:
            raise InputError("no adapter acts: load_adapter(directory), or set_adapter(name)")
        return self.adapters[self.adapter]

    def _acting(self) -> Params | None:
        return None if self.adapter is None else self.adapters[self.adapter].tree

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face directory (safetensors, configs, tokenizer) that transformers and this loader read.

        Adapters do not go along: see `save_adapter` and `merge_adapter`.
        """
        save_hf(directory, self.config, self.params, self.tokenizer)


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    param_dtype: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Pretrained:
    """Loads a T5 (mT5, ByT5, UMT5) and its tokenizer.

    Args:
      source: a Hugging Face id, with "@revision" if wanted ("google/flan-t5-base"), a directory in its format, or the
        workdir of a training run, or a t5x checkpoint (a file or directory). The workdir of a run that trained an
        adapter, or the adapter's directory, gives its base with the adapter acting.
      dtype: compute type: "float32", "bfloat16" or "float16".
      param_dtype: type of the weights; None keeps the file's.
      tokenizer: a directory or hub id; None takes the one beside the model, which a t5x checkpoint does not have.

    Raises:
      InputError: no such model, no network for a hub id, files that are no T5, or no tokenizer.
    """
    settings = GenerationSettings()
    adapter = _adapter_directory(source)
    if adapter is not None:
        source = _base_of(adapter)
    if is_t5x(source):
        if tokenizer is None:
            raise InputError(
                f"{source}: a t5x checkpoint comes without a tokenizer; give load_pretrained(...,"
                " tokenizer=DIRECTORY or hub id)"
            )
        opened = open_t5x(source)
        config, params = opened.config, opened.read(param_dtype)
    else:
        directory = model_directory(source)
        config, params = load_hf(directory, param_dtype=param_dtype)
        tokenizer = tokenizer or directory
        file = directory / "generation_config.json"
        settings = GenerationSettings.from_file(file) if file.is_file() else settings
    vocabulary = load_vocabulary(tokenizer)
    t5 = Pretrained(config, params, vocabulary, Execution(dtype=dtype), settings, os.fspath(source))
    if adapter is not None:
        t5.load_adapter(adapter)
    return t5


def _adapter_directory(source: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory of the adapter that `source` is, or as a workdir has; None where there is none."""
    local = pathlib.Path(source).expanduser()
    return next((place for place in (local, local / "adapter") if is_adapter(place)), None)


def _base_of(adapter: pathlib.Path) -> str:
    """Where the base of a saved adapter is: beside it, in the workdir of its run, or where its config says."""
    beside = adapter.parent / "model"
    if adapter.name == "adapter" and (beside / "config.json").is_file():
        return str(beside)
    name = read_config(adapter).get("base_model_name_or_path")
    if not name:
        raise InputError(
            f"{adapter}: an adapter that does not say what its base is; load that, then load_adapter({str(adapter)!r})"
        )
    return str(name)
