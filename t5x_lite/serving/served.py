"""A model with its adapters, ready to serve: names, limits, and the way from a request to tickets."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from t5x_lite.api import Pretrained, load_pretrained
from t5x_lite.console import log
from t5x_lite.decoding.call_shapes import bucket
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution
from t5x_lite.params.soft_prompts import SOFT_PROMPT
from t5x_lite.serving.alone import Alone, Job
from t5x_lite.serving.completions import Completion
from t5x_lite.serving.engine import Engine, Row, values_in_slot
from t5x_lite.serving.sections import ServeSettings
from t5x_lite.serving.texts import TokenTexts
from t5x_lite.serving.tickets import Ticket
from t5x_lite.serving.trouble import Refused, no_such_model, refusal

_LENGTH_STEP = 32  # tokens: of what one input is padded to


@dataclasses.dataclass(frozen=True)
class Served:
    """names: of the model and its adapters, in the order of their trees."""

    t5: Pretrained
    names: dict[str, int]
    engine: Engine
    alone: Alone
    token_texts: TokenTexts
    settings: ServeSettings

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return self.engine.structure.eos_token_ids

    def ticket(self, asked: Completion) -> tuple[Ticket, int]:
        """What is asked for as work, and the tokens of its prompts. On an event loop.

        Raises:
          Refused: no such model, a prompt that is too long, settings that make no sense or exceed the limits.
        """
        if asked.model not in self.names:
            raise no_such_model(asked.model, self.names)
        adapter = self.names[asked.model]
        inputs = [self._input(prompt) for prompt in asked.prompts]
        try:
            settings = self._settings(asked)
            values, stop_table = values_in_slot(self.t5, settings, self.engine.structure)
        except InputError as error:
            raise refusal(error) from None
        with_logprobs = asked.logprobs is not None
        count = sum(map(len, inputs))
        if values is None:
            job = Job(inputs, settings, asked.seed, adapter, with_logprobs)
            return Ticket((), job, stop_table), count
        rows = [
            Row(
                tokens,
                values,
                settings.do_sample,
                asked.seed,
                number,
                sample,
                adapter,
                with_logprobs,
            )
            for number, tokens in enumerate(inputs)
            for sample in range(int(settings.num_return_sequences))
        ]
        return Ticket(rows, None, stop_table), count

    def samples(self, asked: Completion) -> bool:
        """Whether another seed gives another answer."""
        return self.t5.settings.updated(asked.settings).do_sample

    def _input(self, prompt: str | tuple[int, ...]) -> np.ndarray:
        if isinstance(prompt, str):
            (ids,) = self.t5.tokenizer.encode([prompt], add_eos=True)
        else:
            ids = list(prompt)
            wrong = [token for token in ids if not 0 <= token < self.t5.config.vocab_size]
            if wrong:
                raise Refused(400, f"prompt: there is no token {wrong[0]}", param="prompt")
        most = self.settings.max_input_length
        if len(ids) > most:
            raise Refused(
                400,
                f"prompt: {len(ids)} tokens, with eos; this server takes up to {most}",
                param="prompt",
                code="context_length_exceeded",
            )
        return np.asarray(ids, np.int32)

    def _settings(self, asked: Completion) -> GenerationSettings:
        """
        Raises:
          InputError: they contradict each other. Refused: they exceed a limit.
        """
        settings = self.t5.settings.updated(asked.settings)
        for name in ("max_new_tokens", "max_length", "min_new_tokens", "min_length"):
            if np.ndim(getattr(settings, name)):
                raise Refused(400, f"{name} must be a number, one for all prompts", param=name)
        longest, most = int(np.max(settings.new_tokens()[1])), self.settings.max_new_tokens
        if longest > most:
            said = {"max_new_tokens", "max_length"} & set(asked.settings)
            if said:
                raise Refused(
                    400,
                    f"max_tokens = {longest}: this server takes up to {most}",
                    param="max_tokens",
                )
            settings = settings.updated({"max_new_tokens": most})
        outputs = len(asked.prompts) * int(settings.num_return_sequences)
        room = self.settings.max_batch + self.settings.queue
        if outputs > room:
            raise Refused(
                400,
                f"the request asks for {outputs} outputs; this server takes up to {room}",
                param="n",
            )
        if settings.num_beams > self.settings.max_beams:
            raise Refused(
                400,
                f"num_beams = {settings.num_beams}: this server takes up to {self.settings.max_beams}",
                param="num_beams",
            )
        if asked.stream and settings.num_beams > 1:
            raise Refused(
                400, "stream: beams have no output before the end; leave stream out", param="stream"
            )
        return settings


def load_served(settings: ServeSettings) -> Served:
    """Loads the model and its adapters, and compiles all that runs in slots.

    Raises:
      InputError: no such model or adapter, one without a tokenizer, two of one name, or a soft prompt.
    """
    t5 = load_pretrained(settings.model, dtype=settings.dtype, quantization=settings.quantization)
    _ = t5.tokenizer  # without one there are no texts
    name = settings.name or last_part(settings.model)
    trees: list[Any] = [t5.adapters[t5.adapter].tree if t5.adapter else {}]
    names = {name: 0}
    for adapter, directory in settings.adapter:
        if adapter in names:
            raise InputError(f"--adapter {adapter}={directory}: there is a {adapter!r} already")
        t5.load_adapter(directory, adapter)
        names[adapter] = len(trees)
        trees.append(t5.adapters[adapter].tree)
    for adapter, tree in zip(names, trees, strict=True):
        if SOFT_PROMPT in tree:
            raise InputError(
                f"--adapter {adapter}: a soft prompt; LoRA adapters (also rsLoRA, DoRA) are served"
            )
    execution = Execution(dtype=settings.dtype)
    longest = settings.max_input_length
    coarse = input_lengths(longest)
    engine = Engine(
        t5,
        trees,
        slots=settings.max_batch,
        lengths=sorted({min(bucket(n, _LENGTH_STEP), longest) for n in range(1, longest + 1)}),
        coarse_lengths=coarse,
        capacity=settings.max_new_tokens,
        execution=execution,
    )
    begin = time.monotonic()
    log.info(
        "%s is loaded; compiling: a minute or so at the first start, seconds at the next",
        settings.model,
    )
    engine.compile()
    log.info("compiled %d programs in %.0f s", engine.compilations, time.monotonic() - begin)
    return Served(
        t5,
        names,
        engine,
        Alone(t5, trees, coarse, execution),
        TokenTexts(t5.tokenizer),
        settings,
    )


def input_lengths(longest: int) -> tuple[int, ...]:
    """The lengths that the inputs of a batch count as: up to three, each half of the next.

    >>> input_lengths(512), input_lengths(100)
    ((128, 256, 512), (50, 100))
    """
    lengths = [longest]
    while len(lengths) < 3 and lengths[0] >= 100:
        lengths.insert(0, -(-lengths[0] // 2))
    return tuple(lengths)


def last_part(source: str) -> str:
    """What a model is called, of its directory or id."""
    return source.rstrip("/").rpartition("/")[2] or source
