"""A vocabulary over a transformers (fast) tokenizer: text to token ids and back."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t5x_lite.console import log
from t5x_lite.data.sentencepiece_files import GAP
from t5x_lite.data.tokenizer_source import first_line
from t5x_lite.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# An embedding table in multiples of 128 rows shards and tiles evenly (T5's own: 32,128).
_PADDED_MULTIPLE = 128
# Halves of a UTF-16 pair (JSON's "\ud83d", a text cut inside an emoji): no characters, and no encoding takes them.
_SURROGATES = re.compile("[\ud800-\udfff]")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\ufffd"
# A token's text does not depend on what stands before it, but for a space that decoding removes at the very start.
_PREFIX = "abcdef"


def padded(size: int) -> int:
    """The number of embedding rows that a new model for so many tokens should have."""
    return -(-size // _PADDED_MULTIPLE) * _PADDED_MULTIPLE


class Vocabulary:
    """Text to token ids and back, over a transformers (fast) tokenizer with T5's special tokens.

    Raises:
      InputError: the tokenizer has no pad or no eos token, or is none of `tokenizers`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str = "tokenizer"):
        self._source = source
        self._set_special_tokens(tokenizer, source)
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{source}: {type(tokenizer).__name__} is written in Python; a vocabulary needs the tokenizer.json that"
                " transformers' convert_slow_tokenizer makes of it"
            )
        self._backend = tokenizer.backend_tokenizer
        # T5's published tokenizer.json truncates at 1,024 tokens without a word; our policies are in truncation.py.
        self._backend.no_truncation()
        self._backend.no_padding()
        self._refuse_unknown_as_special(source)
        self._head, self._tail = wrapping(tokenizer)
        if self._tail[-1:] != [self.eos_id]:
            self._tail = [*self._tail, self.eos_id]
        names = self._backend.get_vocab(with_added_tokens=True)
        self._gaps = {id for name, id in names.items() if name.startswith(GAP)}
        self._bytes = {
            id: int(found[1], 16) for name, id in names.items() if (found := _BYTE.fullmatch(name))
        }

    def _set_special_tokens(self, tokenizer: PreTrainedTokenizerBase, source: str) -> None:
        self.tokenizer = tokenizer
        eos = tokenizer.eos_token_id
        if eos is None and getattr(tokenizer, "sep_token_id", None) is not None:
            eos = tokenizer.sep_token_id
            log.warning(
                "%s: its tokenizer has no eos token; %r, its sep token, ends a text",
                source, tokenizer.sep_token,
            )  # fmt: skip
        for name, id in (("pad", tokenizer.pad_token_id), ("eos", eos)):
            if id is None:
                raise InputError(
                    f"{source}: its tokenizer has no {name} token; T5 needs pad and eos"
                )
        self.pad_id: int = tokenizer.pad_token_id
        self.eos_id: int = eos
        # None where every text can be spelt (the bytes of GPT-2's kind of BPE).
        self.unk_id: int | None = tokenizer.unk_token_id
        # Ids, not names: there may be gaps below the highest.
        self.size: int = 1 + max(tokenizer.get_vocab().values())

    def _refuse_unknown_as_special(self, source: str) -> None:
        from tokenizers import decoders

        if isinstance(self._backend.decoder, decoders.ByteLevel):
            return  # every byte has a letter: nothing is unknown
        for name, id in (("pad", self.pad_id), ("eos", self.eos_id)):
            if id == self.unk_id:
                raise InputError(
                    f"{source}: its {name} and unk tokens are one, {self.tokenizer.unk_token!r}; what the vocabulary"
                    f" cannot spell would stand for {name}. Name another {name}_token in tokenizer_config.json"
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size:,} tokens, eos {self.eos_id}, pad {self.pad_id})"

    @property
    def padded_size(self) -> int:
        """The number of embedding rows a new model should have: `size` rounded up to a multiple of
        128.
        """
        return padded(self.size)

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
        become their ids; half a surrogate pair is read as U+FFFD.

        Args:
          texts: to encode.
          add_eos: with the special tokens that the tokenizer puts around a text, which end in eos
            (T5's `… </s>`, CodeT5's `<s> … </s>`).

        Raises:
          InputError: something that is no text, or that the tokenizer's files leave it no way to spell.
        """
        whole = cleaned(texts)
        with faults_named(self._source):
            encodings = self._backend.encode_batch(whole, add_special_tokens=False)
        head, tail = (self._head, self._tail) if add_eos else ([], [])
        return [head + encoding.ids + tail for encoding in encodings]

    def boundaries(self, text: str) -> list[tuple[int, int]]:
        """The [start, end) character span of each token of `text`, for cutting a text between two
        tokens.
        """
        return self._backend.encode(*cleaned([text]), add_special_tokens=False).offsets

    def decode(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The text of every sequence up to its first eos, without special tokens (rows of an int
        array will do).

        Nothing is tidied afterwards (no "clean_up_tokenization_spaces"): decode is the inverse of
        encode. Ids at or over `size`, which a padded embedding table lets a model produce, stand
        for no text; so do those below 0. A byte that is part of no character is U+FFFD.
        """
        kept = [self._up_to_eos(sequence) for sequence in sequences]
        texts = self._backend.decode_batch(kept, skip_special_tokens=True)
        if not self._bytes:
            return texts
        return [
            self._decode_bytes(ids) if _REPLACEMENT in text else text
            for ids, text in zip(kept, texts, strict=True)
        ]

    def _up_to_eos(self, sequence: Iterable[int]) -> list[int]:
        ids = [int(token) for token in sequence]
        ids = ids[: ids.index(self.eos_id)] if self.eos_id in ids else ids
        return [token for token in ids if token >= 0 and token not in self._gaps]

    def _decode_bytes(self, ids: Sequence[int]) -> str:
        """As SentencePiece decodes: where a run of byte tokens is no UTF-8, its whole characters still count.
        `tokenizers` gives up the whole run.
        """
        names: list[str] = []
        run: list[int] = []
        for token in [*ids, None]:
            if token in self._bytes:
                run.append(self._bytes[token])
                continue
            names += _byte_names(bytes(run))
            run.clear()
            name = None if token is None else self._backend.id_to_token(token)
            if name is not None and token not in self._special_ids:
                names.append(name)
        return str(self._backend.decoder.decode(names))

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._backend.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    def token_bytes(self) -> list[bytes | None]:
        """What each id adds to a text in its middle, in UTF-8 (a part of a character, too); None for an id that is no
        token.
        """
        from tokenizers import decoders

        tokenizer = self.tokenizer
        names = tokenizer.convert_ids_to_tokens(list(range(self.size)))
        of_letters = isinstance(self._backend.decoder, decoders.ByteLevel)
        added = self._backend.get_added_tokens_decoder()
        prefix = tokenizer.convert_ids_to_tokens(self.encode([_PREFIX], add_eos=False)[0])
        before = len(tokenizer.convert_tokens_to_string(prefix))
        texts: list[bytes | None] = []
        for id, name in enumerate(names):
            if name is None or id in self._gaps:
                texts.append(None)
            elif id in self._bytes:
                texts.append(bytes([self._bytes[id]]))
            elif of_letters and id in added:
                texts.append(str(name).encode())
            elif of_letters:
                texts.append(bytes(_bytes_of_letters()[letter] for letter in name))
            else:
                text = tokenizer.convert_tokens_to_string([*prefix, name])[before:]
                texts.append(text.encode())
        return texts

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer's files to `directory`, as `load_vocabulary` and transformers'
        AutoTokenizer read them.
        """
        save_tokenizer(self.tokenizer, directory)


@contextlib.contextmanager
def faults_named(source: object) -> Iterator[None]:
    """Turns whatever a tokenizer makes of damaged files (its Rust panics, too) into an InputError that names them."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(
            f"{source}: its tokenizer cannot be used ({first_line(error)}); its files are damaged, or some are missing"
        ) from error


def cleaned(texts: Iterable[str]) -> list[str]:
    """The texts with U+FFFD for each half of a surrogate pair; their lengths stay.

    Raises:
      InputError: something that is no text; a single one, whose letters would be texts.
    """
    if isinstance(texts, str):
        raise InputError("texts: expected a list of texts, got a single one; write [text]")
    found = []
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"texts: expected strings, got {type(text).__name__} {text!r:.40}")
        found.append(text if text.isascii() else _SURROGATES.sub(_REPLACEMENT, text))
    return found


def wrapping(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and behind a text (RoBERTa's `<s>` and `</s>`)."""
    plain, whole = (
        list(tokenizer(_PREFIX, add_special_tokens=special).input_ids) for special in (False, True)
    )
    for at in range(len(whole) - len(plain) + 1):
        if whole[at : at + len(plain)] == plain:
            return whole[:at], whole[at + len(plain) :]
    return [], []


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: str | os.PathLike[str]) -> None:
    """Writes a tokenizer's files, in words that transformers 4 knows, too."""
    tokenizer.save_pretrained(os.fspath(directory))
    file = pathlib.Path(directory) / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _byte_names(data: bytes) -> list[str]:
    """The names of byte tokens, U+FFFD for each byte that is part of no character."""
    names: list[str] = []
    while data:
        try:
            data.decode()
            good = len(data)
        except UnicodeDecodeError as error:
            good = error.start
        names += [f"<0x{byte:02X}>" for byte in data[:good]]
        names += [_REPLACEMENT] if good < len(data) else []
        data = data[good + 1 :]
    return names


@functools.cache
def _bytes_of_letters() -> dict[str, int]:
    """The byte that each letter of GPT-2's kind of vocabulary stands for: itself where it can be printed, else one from
    U+0100 on (Radford et al. 2019).
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(0x100 + n): byte for n, byte in enumerate(others)
    }
