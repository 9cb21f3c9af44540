"""T5's, mT5's and UMT5's `spiece.model` as a transformers tokenizer that splits as SentencePiece does."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def from_sentencepiece(
    folder: pathlib.Path, settings: Mapping[str, Any]
) -> PreTrainedTokenizerBase:
    """The tokenizer of folder/spiece.model, a unigram model.

    Args:
      folder: also holds what other files transformers reads (tokenizer_config.json, special_tokens_map.json).
      settings: of tokenizer_config.json, for its `extra_ids`. Without that there are the 100 sentinels of T5 unless
        the pieces have their own.

    Raises:
      Exception: whatever transformers, protobuf or the file system make of unreadable files.
    """
    import tokenizers
    import transformers
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import decoders, models

    # Made at import time by protobuf, so type checkers cannot see it.
    proto = sentencepiece_model_pb2.ModelProto.FromString(  # type: ignore[attr-defined]
        (folder / "spiece.model").read_bytes()
    )
    options: dict[str, Any] = {}
    if "extra_ids" not in settings and any("<extra_id_0>" in p.piece for p in proto.pieces):
        options["extra_ids"] = 0
    tokenizer = transformers.T5TokenizerFast.from_pretrained(
        str(folder), local_files_only=True, **options
    )
    if not proto.trainer_spec.byte_fallback:
        return tokenizer
    backend: tokenizers.Tokenizer = tokenizer.backend_tokenizer
    scored = [(piece.piece, piece.score) for piece in proto.pieces]
    scored += [(name, 0.0) for name in _sentinels_above(backend, len(scored))]
    backend.model = models.Unigram(scored, unk_id=tokenizer.unk_token_id, byte_fallback=True)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    # No T5Tokenizer any more: that class, read from files, builds its own model without the bytes.
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{f"{name}_token": getattr(tokenizer, f"{name}_token") for name in ("pad", "eos", "unk")},
    )


def _sentinels_above(backend: Any, pieces: int) -> list[str]:
    ids = {index: name for name, index in backend.get_vocab(with_added_tokens=True).items()}
    return [ids[index] for index in range(pieces, len(ids))]
