"""The vocabulary: a checkpoint's own tokenizer, offline from a directory or by its hub id."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from t5x_lite.data.hub import is_offline
from t5x_lite.data.sentencepiece_files import from_sentencepiece
from t5x_lite.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# An embedding table in multiples of 128 rows shards and tiles evenly (T5's own: 32,128).
_PADDED_MULTIPLE = 128
_BYT5 = "ByT5Tokenizer"


class Vocabulary:
    """Text to token ids and back, over a transformers (fast) tokenizer with T5's special tokens.

    Raises:
      InputError: the tokenizer has no pad, eos or unk token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str = "tokenizer"):
        self._set_special_tokens(tokenizer, source)
        self._backend = tokenizer.backend_tokenizer
        # T5's published tokenizer.json truncates at 1,024 tokens without a word; our policies are
        # in features.py.
        self._backend.no_truncation()
        self._backend.no_padding()

    def _set_special_tokens(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        for name in ("pad", "eos", "unk"):
            if getattr(tokenizer, f"{name}_token_id", None) is None:
                raise InputError(
                    f"{source}: its tokenizer has no {name} token; T5 needs pad, eos and unk"
                )
        self.tokenizer = tokenizer
        self.pad_id: int = tokenizer.pad_token_id
        self.eos_id: int = tokenizer.eos_token_id
        self.unk_id: int = tokenizer.unk_token_id
        self.size: int = len(tokenizer)

    @property
    def padded_size(self) -> int:
        """The number of embedding rows a new model should have: `size` rounded up to a multiple of
        128.
        """
        return -(-self.size // _PADDED_MULTIPLE) * _PADDED_MULTIPLE

    @property
    def sentinel_ids(self) -> list[int]:
        """The ids of `<extra_id_0>`, `<extra_id_1>`, … (descending in T5's layout; empty if there
        are none).
        """
        found = self._backend.get_vocab(with_added_tokens=True)
        # mT5 has them among its pieces, and there a word starts with "▁".
        prefix = "" if "<extra_id_0>" in found else "▁"
        ids: list[int] = []
        while (name := f"{prefix}<extra_id_{len(ids)}>") in found:
            ids.append(found[name])
        return ids

    def encode(self, texts: Sequence[str], *, add_eos: bool) -> list[list[int]]:
        """Token ids of every text, never truncated. Special tokens spelt out in a text (`</s>`)
        become their ids.
        """
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        tail = [self.eos_id] if add_eos else []
        return [encoding.ids + tail for encoding in encodings]

    def boundaries(self, text: str) -> list[tuple[int, int]]:
        """The [start, end) character span of each token of `text`, for cutting a text between two
        tokens.
        """
        return self._backend.encode(text, add_special_tokens=False).offsets

    def decode(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The text of every sequence up to its first eos, without special tokens (rows of an int
        array will do).

        Nothing is tidied afterwards (no "clean_up_tokenization_spaces"): decode is the inverse of
        encode. Ids at or over `size`, which a padded embedding table lets a model produce, stand
        for no text.
        """
        kept = [self._up_to_eos(sequence) for sequence in sequences]
        return self._backend.decode_batch(kept, skip_special_tokens=True)

    def _up_to_eos(self, sequence: Iterable[int]) -> list[int]:
        ids = [int(token) for token in sequence]
        return ids[: ids.index(self.eos_id)] if self.eos_id in ids else ids

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer's files to `directory`, as `load_vocabulary` and transformers'
        AutoTokenizer read them.
        """
        self.tokenizer.save_pretrained(os.fspath(directory))


def load_vocabulary(source: str | os.PathLike[str], revision: str | None = None) -> Vocabulary:
    """Loads a tokenizer from a local directory (offline) or from a Hugging Face id.

    A directory needs `tokenizer.json`, `spiece.model`, or (ByT5, which has neither) a
    `tokenizer_config.json` that names ByT5Tokenizer. Without `tokenizer_config.json` beside it,
    the special tokens are those that T5 has, and a `spiece.model` without sentinels among its
    pieces (mT5's has them) gets T5's 100. A `spiece.model` that spells what it does not know in
    bytes (mT5, UMT5) does so here, too; transformers' conversions to `tokenizer.json` lost that.

    Args:
      source: a directory or a hub id ("google/flan-t5-base", "google/flan-t5-base@main").
      revision: branch, tag or commit of a hub id; None for directories.

    Raises:
      InputError: no such directory or id, no tokenizer files in it, unreadable files, or a hub id
        without network.
    """
    name = os.fspath(source)
    folder = pathlib.Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"tokenizer.source: {folder} is a directory and has no revision")
        return _from_directory(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"tokenizer.source: there is no directory {name}")
    import transformers

    hub_id, _, at = name.partition("@")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            hub_id, revision=revision or at or "main", local_files_only=is_offline()
        )
    except Exception as error:  # hub, network and parse errors share no base class
        raise InputError(
            f"tokenizer.source: cannot load {name!r} from the Hugging Face hub"
            f" ({_first_line(error)}); check the id and the network, or give a local directory"
            " with tokenizer.json or spiece.model"
        ) from error
    return _vocabulary(tokenizer, name)


def _vocabulary(tokenizer: PreTrainedTokenizerBase, source: str) -> Vocabulary:
    from t5x_lite.data.byte_vocabulary import ByteVocabulary

    if type(tokenizer).__name__ == _BYT5:
        return ByteVocabulary(tokenizer, source)
    return Vocabulary(tokenizer, source)


def _from_directory(folder: pathlib.Path) -> Vocabulary:
    has_json, has_spiece = (
        (folder / name).is_file() for name in ("tokenizer.json", "spiece.model")
    )
    import transformers

    try:
        settings = _settings(folder)
        if not (has_json or has_spiece):
            if settings.get("tokenizer_class") != _BYT5:
                raise InputError(
                    f"tokenizer.source: {folder} has neither tokenizer.json nor spiece.model"
                )
            tokenizer = transformers.ByT5Tokenizer.from_pretrained(str(folder))
        elif has_json and settings:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True
            )
        elif has_json:
            tokenizer = _bare_json(folder / "tokenizer.json")
        else:
            tokenizer = from_sentencepiece(folder, settings)
    except InputError:
        raise
    except Exception as error:  # the Rust parser raises a bare Exception
        raise InputError(
            f"tokenizer.source: cannot read the tokenizer files in {folder} ({_first_line(error)})"
        ) from error
    return _vocabulary(tokenizer, str(folder))


def _settings(folder: pathlib.Path) -> dict[str, Any]:
    """What tokenizer_config.json says, empty where there is none."""
    file = folder / "tokenizer_config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _bare_json(path: pathlib.Path) -> PreTrainedTokenizerBase:
    """Without tokenizer_config.json nothing names the special tokens: T5's names, if it has them."""
    import tokenizers
    import transformers

    backend = tokenizers.Tokenizer.from_file(str(path))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    known = {role: name for role, name in names.items() if backend.token_to_id(name) is not None}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **known)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
