"""ByT5's vocabulary: the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from t5x_lite.data.fast_vocabulary import Vocabulary, cleaned

if TYPE_CHECKING:
    from transformers import ByT5Tokenizer

_OFFSET = 3  # <pad>, </s>, <unk>
_BYTES = 256
_LAST_LEAD_BYTE = 0xF4  # of UTF-8


class ByteVocabulary(Vocabulary):
    """Text to bytes plus 3 and back: `<pad>` 0, `</s>` 1, `<unk>` 2, bytes 3 to 258, `<extra_id_N>` above.

    Source: Xue et al. 2022 (arXiv:2105.13626); transformers' ByT5Tokenizer, whose ids these are.
    """

    def __init__(self, tokenizer: ByT5Tokenizer, source: str = "tokenizer"):
        self._set_special_tokens(tokenizer, source)
        self._added = {id: str(token) for id, token in tokenizer.added_tokens_decoder.items()}
        self._texts = {
            id: str(token).encode()
            for id, token in tokenizer.added_tokens_decoder.items()
            if id not in tokenizer.all_special_ids
        } | {byte + _OFFSET: bytes([byte]) for byte in range(_BYTES)}
        self._first_letters = {name[0] for name in self._added.values()}

    @property
    def sentinel_ids(self) -> list[int]:
        """Those that ByT5 was pretrained with: the ids of the highest bytes, downwards from 258. Only the 11
        bytes that no UTF-8 text has are taken; then come the tokenizer's own `<extra_id_N>`, which no published
        model has seen.
        """
        unused = [byte + _OFFSET for byte in range(_BYTES - 1, _LAST_LEAD_BYTE, -1)]
        own = [id for id, name in self._added.items() if name.startswith("<extra_id_")]
        return unused + sorted(own)

    def encode(self, texts: Sequence[str], *, add_eos: bool) -> list[list[int]]:
        """As `Vocabulary.encode`; a text that spells `</s>` at its end has its end already, as in transformers."""
        rows = [self._ids(text) for text in cleaned(texts)]
        if add_eos:
            for row in rows:
                if row[-1:] != [self.eos_id]:
                    row.append(self.eos_id)
        return rows

    def _ids(self, text: str) -> list[int]:
        if not self._first_letters.isdisjoint(text):  # may spell a special token
            return list(self.tokenizer(text, add_special_tokens=False).input_ids)
        return [byte + _OFFSET for byte in text.encode("utf-8")]

    def boundaries(self, text: str) -> list[tuple[int, int]]:
        """The [start, end) character span of each token; all bytes of a character have the character's."""
        (text,) = cleaned([text])
        return [
            (at, at + 1) for at, character in enumerate(text) for _ in character.encode("utf-8")
        ]

    def decode(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """As `Vocabulary.decode`; bytes that are no UTF-8 (a character cut short) stand for no text."""
        texts = []
        for sequence in sequences:
            ids = [int(token) for token in sequence]
            ids = ids[: ids.index(self.eos_id)] if self.eos_id in ids else ids
            data = b"".join(self._texts.get(token, b"") for token in ids)
            texts.append(data.decode("utf-8", errors="ignore"))
        return texts

    def token_bytes(self) -> list[bytes | None]:
        """A byte's own; special tokens and sentinels are their names."""
        return [
            bytes([id - _OFFSET])
            if 0 <= id - _OFFSET < _BYTES
            else self._added[id].encode()
            if id in self._added
            else None
            for id in range(self.size)
        ]
