"""Texts for classifiers: a tokenizer with the special tokens that its model was trained with, cut at the end."""

from __future__ import annotations

import copy
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t5x_lite.console import log
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST_TOKEN = "[CLS]"


class ClassifierTokenizer:
    """Text -> token ids with special tokens (RoBERTa's `<s> ... </s>`, T5's `... </s>`), at most `max_length`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._told = False

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text. What is too long loses its end, and the log says so once."""
        if not texts:
            return []
        whole = self.tokenizer(list(texts), add_special_tokens=True, truncation=False)["input_ids"]
        long = sum(len(ids) > self.max_length for ids in whole)
        if not long:
            return whole
        if not self._told:
            log.warning(
                "classifier: %d of %d texts have more than %d tokens and lose their end",
                long,
                len(texts),
                self.max_length,
            )
            self._told = True
        return self.tokenizer(
            list(texts), add_special_tokens=True, truncation=True, max_length=self.max_length
        )["input_ids"]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer's files."""
        self.tokenizer.save_pretrained(os.fspath(directory))


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


def _is_ours(directory: pathlib.Path) -> bool:
    """Whether config.json describes a T5 with a head, which transformers does not know."""
    file = directory / "config.json"
    fields = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return isinstance(fields, dict) and str(fields.get("model_type")).startswith("t5_")


def load_classifier_tokenizer(directory: pathlib.Path, max_length: int) -> ClassifierTokenizer:
    """The tokenizer that lies beside a classifier.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    import transformers

    try:
        # A config.json of our own kind is none of transformers', which would warn of it.
        config = transformers.PretrainedConfig() if _is_ours(directory) else None
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(directory), local_files_only=True, config=config
        )
    except Exception as error:  # the Rust parser raises a bare Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{directory}: cannot load the classifier's tokenizer ({reason}); a classifier needs its own,"
            " tokenizer.json or vocab files beside the weights"
        ) from error
    return ClassifierTokenizer(tokenizer, max_length)
