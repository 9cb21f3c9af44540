"""From a pasted text to the pieces of an answer: template, budget, one of few lengths, and what is compiled ahead."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.api import Pretrained
from t5x_lite.data.templates import find_template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.stream import check_streamable, text_pieces
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError


@dataclasses.dataclass(frozen=True)
class Asked:
    """A text as the model reads it.

    tokens: int32 [1, one of the lengths], padded. used: without the pads. cut: tokens that the budget cost.
    """

    tokens: np.ndarray
    used: int
    cut: int


class Answerer:
    """A model with a template and settings, both of which may change between two answers.

    Args:
      t5: the model; its `settings` are what is generated with.
      field: what the template calls the text.
      lengths: growing; a text is padded to the first that holds it, and the last is the budget.
      policy: of `data.truncation`, for what is longer.
      template: to begin with.

    Raises:
      InputError: as `set_template` and `set_settings`.
    """

    def __init__(
        self, t5: Pretrained, *, field: str, lengths: Sequence[int], policy: str, template: str
    ):
        self._t5, self.field, self._lengths, self._policy = t5, field, tuple(lengths), policy
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._ahead: dict[int, concurrent.futures.Future[None]] = {}
        self._ready: set[int] = set()
        self._first_settings = t5.settings
        self.set_template(template)
        self.set_settings(t5.settings)

    def set_template(self, template: str) -> None:
        """Takes another template, by its name or as a text.

        Raises:
          InputError: no known name, or other fields than the text's; the one before stays.
        """
        check_template(template, self.field)
        self.template = template

    def set_settings(self, settings: GenerationSettings) -> None:
        """Takes these settings in place of those before.

        Raises:
          InputError: beams, or what does not fit the model; those before stay.
        """
        check_streamable(settings)
        prepare(settings, self._t5.config, 1, self._t5.tokenizer)
        self._t5.settings = settings
        self._ready.clear()

    def change_settings(self, settings: Mapping[str, Any]) -> None:
        """Takes these over those before, and what they make meaningless goes (a temperature under greedy).

        Raises:
          InputError: as `GenerationSettings` and `set_settings`.
        """
        self.set_settings(self._t5.settings.updated(settings, where="/settings"))

    def reset_settings(self) -> None:
        """Takes those of the beginning."""
        self.set_settings(self._first_settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What of GenerationConfig is not at its default."""
        settings = self._t5.settings
        return {
            field.name: getattr(settings, field.name)
            for field in dataclasses.fields(settings)
            if getattr(settings, field.name) != field.default
        }

    @property
    def samples(self) -> bool:
        """Whether another seed gives another answer."""
        return self._t5.settings.do_sample

    def prompt(self, text: str) -> str:
        """The template with the text, uncut."""
        return find_template(self.template).render({self.field: text})

    def ask(self, text: str) -> Asked:
        """The template with the text, in tokens; what the budget costs is cut and counted in a warning.

        Raises:
          InputError: too long under the policy "error", or the template alone is.
        """
        row, template = {self.field: text, "id": "of this text"}, find_template(self.template)
        cuts = Cuts("the prompt", self._lengths[-1], self._policy)
        (ids,) = fit([row], template, self._t5.tokenizer, cuts, self.field)
        cuts.report()
        return Asked(self._padded(ids), len(ids), cuts.tokens)

    def pieces(self, asked: Asked, seed: int) -> tuple[Iterator[str], list[int]]:
        """The answer's text in pieces, and the list that its tokens go to as they come."""
        taken: list[int] = []

        def tokens() -> Iterator[int]:
            for token in self._t5.stream_tokens(asked.tokens, seed=seed):
                self._ready.add(asked.tokens.shape[1])
                taken.append(token)
                yield token

        return text_pieces(tokens(), self._t5.tokenizer), taken

    def compile_ahead(self) -> None:
        """Compiles for all lengths under the settings of now, in the background, while somebody types."""
        self._cancel()
        self._ahead = {n: self._pool.submit(self._compile, n) for n in self._lengths}

    def wait_for(self, asked: Asked) -> None:
        """Waits where the asked length is being compiled; if that has not begun, `pieces` does it, as the first."""
        length = asked.tokens.shape[1]
        if length in self._ahead and not self._ahead[length].cancel():
            self._ahead[length].result()

    def is_ready(self, asked: Asked) -> bool:
        """Whether this length was compiled since the settings changed."""
        return asked.tokens.shape[1] in self._ready

    def close(self) -> None:
        """Compiles nothing more."""
        self._cancel()
        self._pool.shutdown(wait=False)

    def _cancel(self) -> None:
        for future in self._ahead.values():
            future.cancel()

    def _compile(self, length: int) -> None:
        only_eos = np.full((1, length), self._t5.config.pad_token_id, np.int32)
        only_eos[0, 0] = self._t5.config.eos_token_id
        next(self._t5.stream_tokens(only_eos))
        self._ready.add(length)

    def _padded(self, ids: list[int]) -> np.ndarray:
        length = next(n for n in self._lengths if n >= len(ids))
        tokens = np.full((1, length), self._t5.config.pad_token_id, np.int32)
        tokens[0, : len(ids)] = ids
        return tokens


def check_template(template: str, field: str) -> None:
    """Refuses what a text alone cannot fill.

    Raises:
      InputError: no known name, or other fields than the text's.
    """
    if find_template(template).fields != (field,):
        raise InputError(
            f"template {template!r}: it must have {{{field}}} and no other field, for a text is all there is"
        )
