"""A SentencePiece model as a `tokenizers.Tokenizer` that splits, spells and decodes as SentencePiece does."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5x_lite.errors import InputError
from t5x_lite.foreign.pointers import refuse_pointer_file

if TYPE_CHECKING:
    import tokenizers

SPACE = "▁"
# The name of an id that stands for nothing, which `tokenizers` cannot leave out. No text reaches it: it holds a space,
# and where pieces are looked up a space is "▁".
GAP = " no token "
# Scores are logarithms of probabilities: what has this one is taken where nothing else can be.
NEVER = -1e5
_UNIGRAM, _BPE = 1, 2  # TrainerSpec.model_type
_CONTROLS = re.compile(r"[\n\r\t]+")
_PRIVATE = 0xE000  # stands for symbols of newlines and tabs while the normalizer runs, which makes them spaces


def read_proto(path: pathlib.Path) -> Any:
    """The ModelProto in a file. Raises whatever protobuf or the file system make of an unreadable one."""
    from sentencepiece import sentencepiece_model_pb2

    refuse_pointer_file(path)
    # Made at import time by protobuf, so type checkers cannot see it.
    proto = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())  # type: ignore[attr-defined]
    if not proto.pieces:
        raise ValueError(f"{path.name} holds no pieces")
    return proto


def to_backend(
    proto: Any, added: Mapping[int, tokenizers.AddedToken], *, eos: str, legacy: bool = True
) -> tokenizers.Tokenizer:
    """The tokenizer of a unigram or BPE model.

    Args:
      proto: a ModelProto.
      added: the tokens that are found in a text before anything else is, by id: what is special among the pieces, and
        what stands above (or in place of) them. Ids between are left free.
      eos: the token that ends a text.
      legacy: what follows an added token begins a new word, as in transformers' T5Tokenizer; if not, it does so only
        after a space.

    Raises:
      InputError: a model of words or characters, or one that marks the ends of words, or no spaces.
    """
    import tokenizers

    if (
        proto.trainer_spec.treat_whitespace_as_suffix
        or not proto.normalizer_spec.escape_whitespaces
    ):
        raise InputError(
            "a SentencePiece model that marks spaces behind words, or not at all (treat_whitespace_as_suffix,"
            " escape_whitespaces), is not read; train one that marks them before words"
        )

    named = [str(added[id]) for id in added]
    backend = tokenizers.Tokenizer(_model(proto, added))
    symbols = [
        piece.piece
        for piece in proto.pieces
        if piece.type == piece.USER_DEFINED and piece.piece not in named
    ]
    backend.normalizer = _normalizer(proto.normalizer_spec, symbols, legacy)
    backend.pre_tokenizer = _pre_tokenizer(proto, symbols, legacy)
    backend.decoder = _decoder(proto)
    for id in sorted(added):
        backend.add_tokens([added[id]])
    backend.post_processor = ending_in(eos, backend.token_to_id(eos))
    return backend


def ending_in(eos: str, id: int) -> tokenizers.processors.PostProcessor:
    """What puts a text's end behind it."""
    from tokenizers import processors

    return processors.TemplateProcessing(
        single=["$A", eos], pair=["$A", eos, "$B", eos], special_tokens=[(eos, id)]
    )


def _model(proto: Any, added: Mapping[int, tokenizers.AddedToken]) -> Any:
    from tokenizers import models

    spec = proto.trainer_spec
    if spec.model_type not in (_UNIGRAM, _BPE):
        raise InputError(
            "a SentencePiece model of words or characters; it must be one of unigrams or BPE"
        )
    scored = {id: (piece.piece, piece.score) for id, piece in enumerate(proto.pieces)}
    ids = {name: id for id, (name, _) in scored.items()}
    for id, token in added.items():
        name = str(token)
        if scored.get(id, ("",))[0] != name:
            if name in ids:
                scored[ids[name]] = (f"{GAP}{ids[name]}", NEVER)
            scored[id] = (name, NEVER)
    listed = [scored.get(id, (f"{GAP}{id}", NEVER)) for id in range(max(scored) + 1)]
    unk = next(
        (id for id, piece in enumerate(proto.pieces) if piece.type == piece.UNKNOWN), spec.unk_id
    )
    if spec.model_type == _UNIGRAM:
        return models.Unigram(listed, unk_id=unk, byte_fallback=spec.byte_fallback)
    learned = [piece.piece for piece in proto.pieces if piece.type == piece.NORMAL]
    return models.BPE(
        {name: id for id, (name, _) in enumerate(listed)},
        _merges(learned),
        unk_token=listed[unk][0],
        fuse_unk=True,
        byte_fallback=spec.byte_fallback,
        ignore_merges=True,
    )


def _merges(pieces: Sequence[str]) -> list[tuple[str, str]]:
    """The merges that lead to each learned piece, in the order in which SentencePiece learned the pieces."""
    known = set(pieces)
    return [
        (piece[:at], piece[at:])
        for piece in pieces
        for at in range(1, len(piece))
        if piece[:at] in known and piece[at:] in known
    ]


def _normalizer(spec: Any, symbols: Sequence[str], legacy: bool) -> Any:
    """Characters as the model's map has them, single spaces, none at the ends, "▁" before the text."""
    import tokenizers
    from tokenizers import normalizers

    controls = sorted((s for s in symbols if _CONTROLS.fullmatch(s)), key=len, reverse=True)
    steps: list[Any] = [
        normalizers.Replace(symbol, chr(_PRIVATE + n)) for n, symbol in enumerate(controls)
    ]
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
        # Without the legacy a space behind an added token tells that a word begins.
        ends = r"\A +| +\z" if legacy else r" +\z"
        steps.append(normalizers.Replace(tokenizers.Regex(ends), ""))
    elif spec.add_dummy_prefix and legacy:
        steps.append(normalizers.Prepend(SPACE))
    steps += [normalizers.Replace(chr(_PRIVATE + n), symbol) for n, symbol in enumerate(controls)]
    return normalizers.Sequence(steps)


def _pre_tokenizer(proto: Any, symbols: Sequence[str], legacy: bool) -> Any:
    import tokenizers
    from tokenizers import pre_tokenizers

    # Words apart are quicker, and the same where no piece holds a word's end and the next one's beginning.
    crossing = any(SPACE in piece.piece[1:] for piece in proto.pieces if piece.type == piece.NORMAL)
    spec = proto.normalizer_spec
    scheme = "never"
    if spec.add_dummy_prefix:
        scheme = "first" if not legacy else "always" if spec.remove_extra_whitespaces else "never"
    metaspace = pre_tokenizers.Metaspace(
        replacement=SPACE, prepend_scheme=scheme, split=not crossing
    )
    if not symbols:
        return metaspace
    # Longest first, as SentencePiece matches them. The symbols are no added tokens: around those, transformers would
    # start a new word.
    pattern = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([metaspace, split])


def _decoder(proto: Any) -> Any:
    from tokenizers import decoders

    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
