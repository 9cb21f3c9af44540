"""What no slot can do (beams, n-gram bans, forced tokens): the whole call, by the `Generator` that `generate` uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from t5x_lite import streams
from t5x_lite.api import Pretrained
from t5x_lite.decoding.call_shapes import pad_call
from t5x_lite.decoding.generate import GenerationOutput, Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.models.config import Execution


@dataclasses.dataclass(frozen=True)
class Job:
    """A call: inputs of any lengths, one settings. adapter: its number."""

    inputs: Sequence[np.ndarray]  # int32 [length] each
    settings: GenerationSettings
    seed: int
    adapter: int
    with_logprobs: bool

    @property
    def outputs(self) -> int:
        """Rows that come out."""
        return len(self.inputs) * int(self.settings.num_return_sequences)


class Alone:
    """Runs jobs, one at a time; inputs are padded to one of `lengths`. Settings of a new structure compile once."""

    def __init__(
        self, t5: Pretrained, trees: Sequence[Any], lengths: Sequence[int], execution: Execution
    ):
        self._generator = Generator(t5.config, execution, t5.tokenizer)
        self._params, self._trees, self._lengths = t5.params, trees, lengths
        self._pad = t5.config.pad_token_id

    @property
    def compilations(self) -> int:
        return self._generator.compilations

    def run(self, job: Job) -> GenerationOutput:
        """The outputs on the host, as many as the job has."""
        longest = max(len(tokens) for tokens in job.inputs)
        length = next(n for n in self._lengths if n >= longest)
        tokens = np.full((len(job.inputs), length), self._pad, np.int32)
        for row, given in zip(tokens, job.inputs, strict=True):
            row[: len(given)] = given
        call = pad_call(tokens, job.settings, self._pad)
        output = self._generator.generate(
            self._params,
            call.encoder_input_tokens,
            call.settings,
            streams.key(job.seed, "decode"),
            row_ids=call.row_ids,
            with_logprobs=job.with_logprobs,
            adapters=self._trees[job.adapter] or None,
        )
        return jax.tree.map(lambda x: np.asarray(x)[: job.outputs] if x.ndim else x, output)
