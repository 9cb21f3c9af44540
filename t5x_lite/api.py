"""The Python surface for notebooks and libraries: load a model, prompt it, score with it, save it.

>>> t5 = load_pretrained("google/flan-t5-base")                      # doctest: +SKIP
>>> t5.generate(["Summarize: ..."], max_new_tokens=50)               # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_lite import streams
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.call_inputs import as_texts, as_token_ids, logits_inputs
from t5x_lite.decoding.call_shapes import LENGTH_STEP, bucket, pad_call
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.decoding.generate import GenerationOutput, Generator
from t5x_lite.decoding.scored import ScoredText, scored_texts
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stream import Streamer, text_pieces
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.evaluation.choice_scores import ChoiceScorer, ChoiceScores, Ids
from t5x_lite.interop.adapter_source import adapter_of, base_for
from t5x_lite.interop.beside import vocabulary_beside
from t5x_lite.interop.generation_files import generation_defaults
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.hub import check_names
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.interop.pretrained import open_pretrained
from t5x_lite.interop.t5x import is_t5x
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import Params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import Adapter, variables
from t5x_lite.params.lora import merge
from t5x_lite.params.overview import count
from t5x_lite.params.quantized import check_quantization


class Pretrained:
    """A model with its tokenizer. `config` and `params` (canonical tree) are plain attributes; so are `adapters`, by
    name, and `adapter`, the name of the one that acts (None: the base alone).
    """

    def __init__(
        self,
        config: T5Config,
        params: Params,
        tokenizer: Vocabulary | None,
        execution: Execution,
        settings: GenerationSettings,
        source: str = "",
        generation: Mapping[str, Any] | None = None,
    ):
        """source: where the base is to be had, for the adapters that are saved; "" if nowhere.

        generation: the fields of the generation_config.json that the model came with, which go along when it is saved.
        """
        self.config = config
        self.params = params
        self._tokenizer = tokenizer
        self.settings = settings
        self.source = source
        self.generation = dict(generation or {})
        self.adapters: dict[str, Adapter] = {}
        self.adapter: str | None = None
        self._model = T5(config, execution)
        self._generator = Generator(config, execution, tokenizer)
        self._streamer = Streamer(config, execution, tokenizer)
        self._scorer = ChoiceScorer(self._model)
        self._logits = jax.jit(self._model.apply)

    def __repr__(self) -> str:
        name = self.source or "of no file"
        adapters = f", adapters: {', '.join(self.adapters)}" if self.adapters else ""
        acting = f" ({self.adapter} acts)" if self.adapter else ""
        settings = repr(self.settings).removeprefix("GenerationSettings")
        return (
            f"Pretrained({name!r}: {self.config.num_encoder_layers} + {self.config.num_decoder_layers} layers of"
            f" {self.config.d_model}, {count(self.params):,} parameters{adapters}{acting},"
            f" tokenizer {self._tokenizer!r}, generates by {settings})"
        )

    @property
    def tokenizer(self) -> Vocabulary:
        """The tokenizer.

        Raises:
          InputError: none lies beside the model; token ids work without.
        """
        if self._tokenizer is None:
            raise InputError(
                f"{self.source}: no tokenizer lies beside the model, and texts need one; give load_pretrained(...,"
                " tokenizer=DIRECTORY or hub id), or work with token ids (generate_tokens, logits)"
            )
        return self._tokenizer

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
        if not (texts := as_texts(texts)):
            return []
        tokens = self.generate_tokens(self.encode(texts), seed=seed, **settings)
        return self.tokenizer.decode(tokens.tolist())

    def generate_with_scores(
        self, texts: Sequence[str], *, seed: int = 0, **settings: Any
    ) -> list[ScoredText]:
        """What `generate` gives, each text with its tokens, beam score and log-probabilities, from the same loop.

        What transformers gives for return_dict_in_generate and output_scores: `score` is its sequences_scores, and
        `processed_logprobs` its transition scores.

        Args and errors: as `generate`.
        """
        if not (texts := as_texts(texts)):
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
            as_token_ids(encoder_input_tokens, self.config.vocab_size),
            self.settings.updated(settings),
            _decode_key(seed),
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
          InputError: as `generate`, and an array that is not two-dimensional, or holds what is no token of the model.
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
        tokens = as_token_ids(encoder_input_tokens, self.config.vocab_size)
        asked = self.settings.updated(settings)
        prepare(asked, self.config, len(tokens), self._tokenizer)  # refused as asked, not as padded
        call = pad_call(tokens, asked, self.config.pad_token_id)
        output = self._generator.generate(
            self.params,
            call.encoder_input_tokens,
            call.settings,
            _decode_key(seed),
            row_ids=call.row_ids,
            with_logprobs=with_logprobs,
            adapters=self._acting(),
        )
        rows = len(tokens) * asked.num_return_sequences
        return jax.tree.map(lambda x: np.asarray(x)[:rows] if x.ndim else x, output)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of texts with eos, right-padded to one of few lengths: int32 [batch, length].

        Raises:
          InputError: a single text in place of a list, or there is no tokenizer.
        """
        ids = self.tokenizer.encode(as_texts(texts), add_eos=True)
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
          InputError: one of the two inputs is missing, or holds what is no token of the model.
        """
        arrays = logits_inputs(batch, self.config.vocab_size)
        return self._logits(variables(self.params, self._acting()), *arrays)

    def score(
        self, texts: Sequence[str], choices: Sequence[Sequence[str]], *, batch_tokens: int = 4096
    ) -> list[ChoiceScores]:
        """How likely each of a text's choices is as the whole answer to it, eos among its tokens.

        choices: of each text its own, at least one. batch_tokens: encoder tokens of a batch, at most.
        """
        inputs = self.tokenizer.encode(as_texts(texts), add_eos=True)
        ids = [self.tokenizer.encode(as_texts(own, "choices"), add_eos=True) for own in choices]
        return self.score_tokens(inputs, ids, batch_tokens=batch_tokens)

    def score_tokens(
        self, inputs: Sequence[Ids], choices: Sequence[Sequence[Ids]], *, batch_tokens: int = 4096
    ) -> list[ChoiceScores]:
        """`score` of token ids, as they are."""
        adapter = self._acting()
        return self._scorer.score(self.params, adapter, inputs, choices, batch_tokens=batch_tokens)

    def load_adapter(self, directory: str | os.PathLike[str], name: str = "default") -> None:
        """Puts a saved adapter (peft's format: LoRA, rsLoRA, DoRA, prompt tuning) beside the model, and lets it act.

        Args:
          directory: of the adapter, or the workdir of the run that trained it, or a hub id.
          name: under which `set_adapter` finds it again; one of the same name is replaced.

        Raises:
          InputError: there is no adapter, it is of a kind that is not read, or it was trained on another base.
        """
        adapter = load_adapter(directory, self.config, self.params, self.source)
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

        The generation settings that the model was loaded with go along. What was loaded in integers is written as the
        floats that it computes with.
        Adapters do not go along: see `save_adapter` and `merge_adapter`.
        """
        save_hf(directory, self.config, self.params, self._tokenizer, generation=self.generation)


def _decode_key(seed: int) -> jax.Array:
    """The key of the draws; of seeds beyond 32 bits jax would take what is below."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise InputError(f"seed = {seed!r}: expected a whole number from 0 to 2**31 - 1")
    return streams.key(int(seed), "decode")


def load_pretrained(
    source: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    param_dtype: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    architecture: Mapping[str, Any] | None = None,
    quantization: str = "none",
) -> Pretrained:
    """Loads a T5 (mT5, ByT5, UMT5) and its tokenizer.

    Args:
      source: a Hugging Face id, with "@revision" if wanted ("google/flan-t5-base"), a directory in its format, or the
        workdir of a training run, or a t5x checkpoint (a file or directory). An adapter (a directory, a hub id, or the
        workdir of the run that trained it) gives its base with the adapter acting.
      dtype: compute type: "float32", "bfloat16" or "float16".
      param_dtype: type of the weights; None keeps the file's.
      tokenizer: a directory or hub id; None takes the one beside the model. Where there is none, token ids alone work.
        A t5x checkpoint has none, and needs to be told.
      base: of an adapter: the model to put it on, in place of the one that it names.
      architecture: of a t5x checkpoint: what it does not say, by the names of `T5Config` ({"feed_forward_proj":
        "gated-silu"}).
      quantization: "int8" or "int4": matrices are kept as integers (see `params.quantized`), and adapters act on them;
        "none": as the file has them.

    Raises:
      InputError: no such model, no network for a hub id, files that are no T5, an adapter whose base is not there, or a
        tokenizer with more tokens than the model has rows for.
    """
    check_names(source=source, tokenizer=tokenizer or "", base=base or "")
    adapter = adapter_of(source)
    if adapter is not None:
        name = base_for(adapter, base)
        t5 = load_pretrained(
            name, dtype=dtype, param_dtype=param_dtype, tokenizer=tokenizer,
            architecture=architecture, quantization=quantization,
        )  # fmt: skip
        t5.load_adapter(adapter)
        return t5
    if base is not None:
        raise InputError(f"{source}: is no adapter, so base = {os.fspath(base)!r} means nothing")
    if is_t5x(source) and tokenizer is None:
        raise InputError(
            f"{source}: a t5x checkpoint comes without a tokenizer; give load_pretrained(...,"
            " tokenizer=DIRECTORY or hub id)"
        )
    check_quantization(quantization, "quantization")
    opened = open_pretrained(source, architecture)
    vocabulary = vocabulary_beside(opened, tokenizer)
    return Pretrained(
        opened.config,
        opened.read(param_dtype, quantization=quantization),
        vocabulary,
        Execution(dtype=dtype),
        checkpoint_settings(source),
        os.fspath(source),
        generation_defaults(source)[0],
    )
