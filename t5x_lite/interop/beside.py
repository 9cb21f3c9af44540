"""The tokenizer that lies beside a model, or that is given in its place."""

from __future__ import annotations

import os
import pathlib

from t5x_lite.console import log
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary, tell_differing_ids
from t5x_lite.errors import InputError
from t5x_lite.interop.opened import OpenedModel

# Of which one lies where a tokenizer does.
_TOKENIZER_FILES = (
    *(
        "tokenizer.json",
        "tokenizer_config.json",
        "spiece.model",
        "tokenizer.model",
        "sentencepiece.bpe.model",
    ),
    *("vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json"),
)


def vocabulary_beside(
    opened: OpenedModel, tokenizer: str | os.PathLike[str] | None
) -> Vocabulary | None:
    """The tokenizer that is given, or that lies beside the model.

    Raises:
      InputError: it cannot be read, or has more tokens than the model embeds.
    """
    directory = pathlib.Path(opened.source)
    if tokenizer is None and not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        log.warning(
            "%s: no tokenizer lies beside the model: token ids work, texts do not", directory
        )
        return None
    vocabulary = load_vocabulary(directory if tokenizer is None else tokenizer)
    if vocabulary.size > opened.config.vocab_size:
        raise InputError(
            f"{tokenizer or directory}: the tokenizer has {vocabulary.size} tokens, but the model embeds"
            f" {opened.config.vocab_size}: take the tokenizer that the model was trained with, or resize the model"
            " (transformers: model.resize_token_embeddings) and train it"
        )
    tell_differing_ids(
        vocabulary,
        pad_token_id=opened.config.pad_token_id,
        eos_token_id=opened.config.eos_token_id,
        model=os.fspath(opened.source),
    )
    return vocabulary
