"""Texts for classifiers: a tokenizer with the special tokens that its model was trained with, cut at the end."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t5x_lite.console import log
from t5x_lite.data.fast_vocabulary import (
    Vocabulary,
    cleaned,
    faults_named,
    save_tokenizer,
    wrapping,
)
from t5x_lite.data.tokenizer_files import read_classifier_tokenizer
from t5x_lite.data.tokenizer_source import first_line
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST_TOKEN = "[CLS]"
# Beside a classifier of ours: how it was trained to read, a JSON object of `Reading`.
READING_FILE = "reading.json"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a classifier was trained to read: at most so many tokens (0: not known), and, of a reward model, texts made
    by a template ("": not known, or plain texts).
    """

    max_length: int = 0
    template: str = ""


class ClassifierTokenizer:
    """Text -> token ids with special tokens (RoBERTa's `<s> ... </s>`, T5's `... </s>`), at most `max_length`.

    The tokenizer may be shared: none of its settings is changed.

    template: that the texts of its reward model are made by; saved along with the length.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int, template: str = ""):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._head, self._tail = wrapping(tokenizer)
        self.template = template
        self._told: set[str] = set()

    @property
    def around(self) -> tuple[int, int]:
        """How many special tokens stand before each text, and how many behind it."""
        return len(self._head), len(self._tail)

    @property
    def pad_id(self) -> int | None:
        """The tokenizer's padding; None where it has none."""
        return self.tokenizer.pad_token_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text. What is too long loses its end (its start, where the tokenizer's `truncation_side`
        is "left"), and the log says so once. Half a surrogate pair is read as U+FFFD.

        Raises:
          InputError: something that is no text.
        """
        if not texts:
            return []
        whole = self.encode_whole(texts)
        long = sum(len(ids) > self.max_length for ids in whole)
        if not long:
            return whole
        left = getattr(self.tokenizer, "truncation_side", "right") == "left"
        self.warn_once(
            "%d of %d texts have more than %d tokens and lose their %s",
            *(long, len(texts), self.max_length, "start" if left else "end"),
        )
        return [self._cut(ids, left) for ids in whole]

    def _cut(self, ids: list[int], left: bool) -> list[int]:
        """A wrapped text within `max_length`; the shared tokenizer's own truncation is left alone."""
        if len(ids) <= self.max_length:
            return ids
        body = ids[len(self._head) : len(ids) - len(self._tail)]
        room = max(0, self.max_length - len(self._head) - len(self._tail))
        return [*self._head, *(body[len(body) - room :] if left else body[:room]), *self._tail]

    def encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, however long."""
        if not texts:
            return []
        whole = cleaned(texts)
        with faults_named("the classifier"):
            bodies = self.tokenizer(whole, add_special_tokens=False, truncation=False)
        return [[*self._head, *body, *self._tail] for body in bodies["input_ids"]]

    def warn_once(self, message: str, *values: object) -> None:
        """Warns of what is cut, the first time that this is said."""
        if message not in self._told:
            self._told.add(message)
            log.warning("classifier: " + message, *values)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer's files, and how its classifier reads (`read_reading`)."""
        save_tokenizer(self.tokenizer, directory)
        reading = dataclasses.asdict(Reading(self.max_length, self.template))
        text = json.dumps(reading, indent=2, ensure_ascii=False) + "\n"
        (pathlib.Path(directory) / READING_FILE).write_text(text, encoding="utf-8")


def read_reading(directory: pathlib.Path) -> Reading:
    """How the classifier of a directory was trained to read; of one that is not ours nothing is known.

    Raises:
      InputError: the file is there and is none.
    """
    file = directory / READING_FILE
    if not file.is_file():
        return Reading()
    try:
        reading = Reading(**read_object(file))
    except TypeError as error:
        raise InputError(f"{file}: expected max_length and template ({error})") from error
    good = type(reading.max_length) is int and isinstance(reading.template, str)
    if not good or reading.max_length < 0:
        raise InputError(f"{file}: expected a max_length >= 0 and a template, found {reading}")
    return reading


def of_vocabulary(vocabulary: Vocabulary, max_length: int) -> ClassifierTokenizer:
    """The tokenizer of a T5, for its encoder with a head."""
    return ClassifierTokenizer(vocabulary.tokenizer, max_length)


def with_first_token(vocabulary: Vocabulary, max_length: int) -> ClassifierTokenizer:
    """`of_vocabulary` for an encoder that reads its answer off the first token: BERT's [CLS] stands there.

    Raises:
      InputError: the vocabulary has no such token.
    """
    import tokenizers

    tokenizer = copy.deepcopy(vocabulary.tokenizer)
    first = tokenizer.get_vocab().get(FIRST_TOKEN)
    if first is None:
        raise InputError(
            f"config.tokenizer.user_defined_symbols: an encoder reads its answer off {FIRST_TOKEN}; name that symbol"
        )
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=[FIRST_TOKEN, "$A", end],
        pair=[FIRST_TOKEN, "$A", end, "$B", end],
        special_tokens=[(FIRST_TOKEN, first), (end, vocabulary.eos_id)],
    )
    return ClassifierTokenizer(tokenizer, max_length)


def load_classifier_tokenizer(directory: pathlib.Path, max_length: int) -> ClassifierTokenizer:
    """The tokenizer that lies beside a classifier.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    try:
        tokenizer = read_classifier_tokenizer(directory)
    except Exception as error:  # the Rust parser raises a bare Exception
        raise InputError(
            f"{directory}: cannot load the classifier's tokenizer ({first_line(error)}); a classifier needs its own,"
            " tokenizer.json or vocab files beside the weights"
        ) from error
    with faults_named(directory):
        return ClassifierTokenizer(tokenizer, max_length)
