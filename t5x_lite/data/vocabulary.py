"""The vocabulary of a tokenizer: offline from a directory, or by its hub id."""

from __future__ import annotations

import os

from t5x_lite.console import log
from t5x_lite.data.byte_vocabulary import ByteVocabulary
from t5x_lite.data.fast_vocabulary import Vocabulary, faults_named
from t5x_lite.data.tokenizer_files import BYT5, read_tokenizer
from t5x_lite.data.tokenizer_source import first_line, tokenizer_directory
from t5x_lite.errors import InputError

__all__ = ["Vocabulary", "load_vocabulary", "tell_differing_ids"]


def load_vocabulary(source: str | os.PathLike[str], revision: str | None = None) -> Vocabulary:
    """Loads a tokenizer from a local directory (offline), from a Hugging Face id, or from whatever else names a model.

    A directory needs `tokenizer.json`, `spiece.model` (also by the names of `tokenizer.model`,
    `sentencepiece.model` or `sentencepiece.bpe.model`), `vocab.json` with `merges.txt`,
    `vocab.txt`, or (ByT5, which has no such file) a `tokenizer_config.json` that names
    ByT5Tokenizer. Special tokens that no file names are those that T5 has; a `spiece.model` without
    sentinels among its pieces (mT5's has them) gets T5's 100. What a file spells in bytes, and which
    id it has for what is unknown, is as the file says; transformers' T5Tokenizer would lose it.

    Args:
      source: "nano", a directory, the workdir of a run, or a hub id ("google/flan-t5-base",
        "google/flan-t5-base@main").
      revision: branch, tag or commit of a hub id; None for directories.

    Raises:
      InputError: no such directory or id, no tokenizer files in it, unreadable files, or a hub id
        without network.
    """
    folder = tokenizer_directory(source, revision)
    try:
        tokenizer = read_tokenizer(folder)
    except InputError:
        raise
    except Exception as error:  # the Rust parser raises a bare Exception
        raise InputError(
            f"tokenizer.source: cannot read the tokenizer files in {folder} ({first_line(error)})"
        ) from error
    with faults_named(f"tokenizer.source: {folder}"):
        if type(tokenizer).__name__ == BYT5:
            return ByteVocabulary(tokenizer, str(folder))
        return Vocabulary(tokenizer, str(folder))


def tell_differing_ids(
    vocabulary: Vocabulary, *, pad_token_id: int, eos_token_id: int, model: str
) -> None:
    """A warning for each special token that a model's config and its tokenizer give other ids, with what is done.

    Args:
      vocabulary: the model's.
      pad_token_id, eos_token_id: of the model's config.
      model: what the log calls the model.
    """
    used = {
        "eos": (eos_token_id, vocabulary.eos_id, "texts and targets end in the tokenizer's, generation at the model's"),
        "pad": (pad_token_id, vocabulary.pad_id, "rows are filled with the model's, which it does not see"),
    }  # fmt: skip
    for name, (theirs, ours, what) in used.items():
        if theirs != ours:
            shown = vocabulary.tokenizer.convert_ids_to_tokens([theirs, ours])
            log.warning(
                "%s: its %s_token_id is %d (%r), its tokenizer's %d (%r): %s. If one is wrong, mend config.json or"
                " tokenizer_config.json",
                model, name, theirs, shown[0], ours, shown[1], what,
            )  # fmt: skip
