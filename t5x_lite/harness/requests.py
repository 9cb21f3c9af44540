"""What lm-evaluation-harness asks of a model, answered by a `Pretrained`: log-likelihoods, and texts up to a stop.

As its own model `hf` does for encoder-decoders: the context is the encoder's text, with eos; a continuation is what the
decoder begins with, without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from t5x_lite.api import Pretrained
from t5x_lite.console import log, progress
from t5x_lite.decoding.stop_strings import stop_table
from t5x_lite.errors import InputError

_MOST_LENGTH = (
    2048  # tokens of a context, where the tokenizer does not say; the harness's own number
)
_NEW_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class Request(Protocol):
    """Of `lm_eval.api.instance.Instance` what is read."""

    args: tuple[Any, ...]


class Requests:
    """Answers requests. It knows nothing of lm_eval, whose `LM` it is beside (`lm_eval_model`).

    Args:
      batch_tokens: encoder tokens of a batch, at most.
      max_length: tokens of a context, at most: of a longer one the end is read; 0: as the tokenizer says.
      max_gen_toks: new tokens of a text where a request does not say.
    """

    cache_hook: Any = None  # LM's: keeps answers where a cache is asked for

    def __init__(self, t5: Pretrained, *, batch_tokens: int, max_length: int, max_gen_toks: int):
        self.t5 = t5
        self._batch_tokens, self._new_tokens = batch_tokens, max_gen_toks
        own = getattr(t5.tokenizer.tokenizer, "model_max_length", _MOST_LENGTH)
        self.max_length = max_length or (own if own < 1e6 else _MOST_LENGTH)
        self._batches = 0  # decoded so far: the seed of the next one

    def loglikelihood(
        self, requests: Sequence[Request], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Of each (context, continuation) the log-probability of the continuation's tokens, nats, and whether greedy
        decoding begins with it. Continuations of one context share one pass of the encoder.

        Raises:
          InputError: a continuation without a token.
        """
        pairs = [_words_with_their_spaces(*request.args) for request in requests]
        contexts = self._contexts([context for context, _ in pairs])
        wanted = self.t5.tokenizer.encode([text for _, text in pairs], add_eos=False)
        of_context: dict[tuple[int, ...], list[int]] = {}
        for number, (context, tokens) in enumerate(zip(contexts, wanted, strict=True)):
            if not tokens:
                raise InputError(
                    f"lm_eval: the continuation {pairs[number][1]!r} has no token of this vocabulary, and no likelihood"
                )
            of_context.setdefault(tuple(context), []).append(number)
        groups = list(of_context.values())
        scores = self.t5.score_tokens(
            list(of_context),
            [[wanted[number] for number in group] for group in groups],
            batch_tokens=self._batch_tokens,
        )
        answers: dict[int, tuple[float, bool]] = {}
        for group, found in zip(groups, scores, strict=True):
            for place, number in enumerate(group):
                answers[number] = float(found.logprobs[place]), bool(found.greedy[place])
        for number, request in enumerate(requests):
            self._keep("loglikelihood", request.args, answers[number])
        return [answers[number] for number in range(len(requests))]

    def loglikelihood_rolling(
        self, requests: Sequence[Request], disable_tqdm: bool = False
    ) -> list[float]:
        """Refused: the perplexity of a running text is that of a model that goes on with it.

        Raises:
          InputError: always.
        """
        raise InputError(
            "lm_eval: loglikelihood_rolling (perplexity of a running text) is for decoder-only models; T5 writes an"
            " answer to a text: choose tasks of multiple choice or generation"
        )

    def generate_until(self, requests: Sequence[Request], disable_tqdm: bool = False) -> list[str]:
        """Of each (context, settings) the text that is generated, up to the first of the strings `until`.

        Raises:
          InputError: a setting that is not known.
        """
        of_settings: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            key = json.dumps(request.args[1], sort_keys=True)
            of_settings.setdefault(key, []).append(number)
        contexts = self._contexts([request.args[0] for request in requests])
        texts: dict[int, str] = {}
        with progress(len(requests), "generating", "row") as bar:
            for members in of_settings.values():
                settings, until = self._settings(requests[members[0]].args[1])
                members.sort(key=lambda number: len(contexts[number]))
                while members:
                    rows = self._rows_of_a_batch([len(contexts[number]) for number in members])
                    batch, members = members[:rows], members[rows:]
                    outputs = self._generate([contexts[number] for number in batch], settings)
                    texts |= {
                        number: _before(text, until)
                        for number, text in zip(batch, outputs, strict=True)
                    }
                    bar.update(len(batch))
        for number, request in enumerate(requests):
            self._keep("generate_until", request.args, texts[number])
        return [texts[number] for number in range(len(requests))]

    def _contexts(self, texts: Sequence[str]) -> list[list[int]]:
        """Their tokens with eos, of long ones the end."""
        ids = self.t5.tokenizer.encode(texts, add_eos=True)
        if long := sum(len(tokens) > self.max_length for tokens in ids):
            log.warning(
                "lm_eval: %d of %d contexts have more than %d tokens and lose their beginning",
                *(long, len(ids), self.max_length),
            )
        return [tokens[-self.max_length :] for tokens in ids]

    def _rows_of_a_batch(self, lengths: Sequence[int]) -> int:
        """How many of the next rows, shortest first, make a batch."""
        rows = 1
        while rows < len(lengths) and (rows + 1) * lengths[rows] <= self._batch_tokens:
            rows += 1
        return rows

    def _generate(
        self, contexts: Sequence[Sequence[int]], settings: Mapping[str, Any]
    ) -> list[str]:
        tokens = np.full((len(contexts), max(map(len, contexts))), self.t5.config.pad_token_id)
        for row, ids in zip(tokens, contexts, strict=True):
            row[: len(ids)] = ids
        self._batches += 1
        output = self.t5.generate_tokens(tokens, seed=self._batches, **settings)
        return self.t5.tokenizer.decode(output.tolist())

    def _settings(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """What a request says of decoding, in the names of GenerationConfig, and the strings that end a text."""
        rest = dict(asked)
        until = rest.pop("until", None) or []
        until = [text for text in ([until] if isinstance(until, str) else until) if text]
        most = [rest.pop(name) for name in _NEW_TOKENS if rest.get(name) is not None]
        temperature = float(rest.pop("temperature", None) or 0)
        sampled = rest.pop("do_sample", None)
        sampled = temperature > 0 if sampled is None else sampled
        settings = {"max_new_tokens": int((most or [self._new_tokens])[0]), "do_sample": sampled}
        if sampled and temperature:
            settings["temperature"] = temperature
        # T5's vocabulary has no newline, which most tasks name: what cannot be written ends nothing.
        if spelled := [text for text in until if self._can_write(text)]:
            settings["stop_strings"] = spelled
        return settings | rest, until

    def _can_write(self, text: str) -> bool:
        try:
            stop_table((text,), self.t5.tokenizer, self.t5.config.vocab_size)
        except InputError:
            return False
        return True

    def _keep(self, kind: str, asked: tuple[Any, ...], answer: Any) -> None:
        if self.cache_hook is not None:
            self.cache_hook.add_partial(kind, asked, answer)


def _words_with_their_spaces(context: str, continuation: str) -> tuple[str, str]:
    """The spaces at a context's end belong to the word that follows.

    >>> _words_with_their_spaces("Is it? ", "yes")
    ('Is it?', ' yes')
    """
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def _before(text: str, stops: Sequence[str]) -> str:
    """What stands before the first of the stops.

    >>> _before("yes. no; yes", [";", ". "])
    'yes'
    """
    for stop in stops:
        text = text.split(stop)[0]
    return text
