"""The tokenizer of a directory, from whichever files it has."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t5x_lite.data.sentencepiece_files import ending_in, read_proto, to_backend
from t5x_lite.data.tokenizer_json import read_backend
from t5x_lite.data.tokenizer_settings import (
    ROLES,
    TokenizerSettings,
    added_to_pieces,
    read_settings,
    sentinel_count,
    special_token,
)
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json

if TYPE_CHECKING:
    import tokenizers
    from transformers import PreTrainedTokenizerBase

BYT5 = "ByT5Tokenizer"
_JSON = "tokenizer.json"
# (T5X's vocabularies lie in files of the last name.)
_SENTENCEPIECE = (
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
)
_BPE = ("vocab.json", "merges.txt")
_WORDPIECE = "vocab.txt"
# T5's class builds T5's pipeline anew from a file's pieces (id 2 for what is unknown, no bytes, no BPE); the others
# are what the file says.
_T5 = ("T5Tokenizer", "MT5Tokenizer")
_AS_THE_FILE_SAYS = ("", *_T5, "PreTrainedTokenizer", "TokenizersBackend")
_T5_NAMES = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}


def has_tokenizer(folder: pathlib.Path) -> bool:
    """Whether `read_tokenizer` finds files to read."""
    single = any((folder / name).is_file() for name in (_JSON, *_SENTENCEPIECE, _WORDPIECE))
    if single or all((folder / name).is_file() for name in _BPE):
        return True
    try:
        return read_settings(folder).class_name == BYT5
    except ValueError:
        return False


def read_tokenizer(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    """The tokenizer whose files lie in `folder`, as AutoTokenizer reads them; T5's as their files say.

    Raises:
      InputError: no such files, or settings that are not read.
      Exception: whatever transformers, protobuf or the file system make of unreadable ones.
    """
    import transformers

    settings = read_settings(folder)
    if settings.flag("split_special_tokens", default=False):
        raise InputError(
            f"{folder / 'tokenizer_config.json'}: split_special_tokens = true is not supported: special tokens in a"
            " text become their ids here; set it to false"
        )
    is_plain = settings.class_name in _AS_THE_FILE_SAYS
    if (folder / _JSON).is_file() and not _lost_bytes(folder, settings):
        return _from_json(folder, settings) if is_plain else _auto(folder)
    if settings.class_name == BYT5:
        return transformers.ByT5Tokenizer.from_pretrained(str(folder))
    for name in _SENTENCEPIECE:
        if (folder / name).is_file():
            return _from_sentencepiece(folder / name, settings) if is_plain else _auto(folder)
    if all((folder / name).is_file() for name in _BPE):
        return (
            transformers.RobertaTokenizer.from_pretrained(str(folder))
            if is_plain
            else _auto(folder)
        )
    if (folder / _WORDPIECE).is_file():
        return (
            transformers.BertTokenizer.from_pretrained(str(folder)) if is_plain else _auto(folder)
        )
    raise InputError(
        f"tokenizer.source: {folder} has neither {_JSON} nor {_SENTENCEPIECE[0]} (nor"
        f" {', '.join(_SENTENCEPIECE[1:])}, {' with '.join(_BPE)}, or {_WORDPIECE})"
    )


def read_classifier_tokenizer(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    """As AutoTokenizer reads it, whatever its class; T5's as its files say.

    Raises:
      InputError: no such files, of which AutoTokenizer makes a tokenizer that knows no word.
      Exception: whatever transformers or the file system make of unreadable ones.
    """
    if not has_tokenizer(folder):
        raise InputError(f"{folder} has no {_JSON}, {_WORDPIECE} or other vocabulary")
    is_t5s = read_settings(folder).class_name in _T5
    return read_tokenizer(folder) if is_t5s else _auto(folder)


def _lost_bytes(folder: pathlib.Path, settings: TokenizerSettings) -> bool:
    """Whether a spiece.model spells in bytes what the tokenizer.json beside it, which transformers 4 made of it, calls
    unknown (UMT5).
    """
    import tokenizers

    path = folder / _SENTENCEPIECE[0]
    if settings.class_name not in _T5 or not path.is_file():
        return False
    model: Any = tokenizers.Tokenizer.from_file(str(folder / _JSON)).model
    spec = read_proto(path).trainer_spec
    return bool(spec.byte_fallback) and not getattr(model, "byte_fallback", False)


def _auto(folder: pathlib.Path) -> PreTrainedTokenizerBase:
    import transformers

    # A config.json of our own kind is none of transformers', which would warn of it.
    config = transformers.PretrainedConfig() if _is_ours(folder) else None
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, config=config, trust_remote_code=False
    )
    if getattr(tokenizer, "is_fast", False):
        # transformers 5 forgets it of those in added_tokens.json (CodeT5's sentinels).
        _mark_special(tokenizer.backend_tokenizer, read_settings(folder).every_special)
    return tokenizer


def _is_ours(folder: pathlib.Path) -> bool:
    """Whether config.json describes a T5 with a head, which transformers does not know."""
    file = folder / "config.json"
    fields = read_json(file) if file.is_file() else {}
    return isinstance(fields, dict) and str(fields.get("model_type")).startswith("t5_")


def _mark_special(backend: tokenizers.Tokenizer, names: Sequence[str]) -> None:
    """Decoding leaves these out."""
    added = {str(token): token for token in backend.get_added_tokens_decoder().values()}
    for name in names:
        token = added.get(name)
        if token is not None and not token.special:
            token.special = True
            backend.add_special_tokens([token])


def _from_json(folder: pathlib.Path, settings: TokenizerSettings) -> PreTrainedTokenizerBase:
    """tokenizer.json as it is, with the special tokens that are named beside it; else T5's, if it has them."""
    backend = read_backend(folder / _JSON)
    names = backend.get_vocab(with_added_tokens=True)
    if settings.class_name in ("", *_T5):
        _strip_ends(backend)
    roles = {role: name for role in ROLES if (name := settings.special(role))}
    roles = {role: name for role, name in _T5_NAMES.items() if name in names} | roles
    for id in sorted(settings.added):
        if str(settings.added[id]["content"]) not in names:
            backend.add_tokens([settings.token(id)])
    if settings.class_name in _T5 and not any("<extra_id_0>" in name for name in names):
        count = sentinel_count(settings, names)
        backend.add_tokens([special_token(f"<extra_id_{n}>") for n in range(count)])
    tokenizer = _wrapped(backend, roles, settings.further_special)
    if settings.class_name in _T5 and tokenizer.eos_token is not None:
        # Of another eos than the file was made with, the older one is no part of a text's end.
        tokenizer.backend_tokenizer.post_processor = ending_in(
            tokenizer.eos_token, tokenizer.eos_token_id
        )
    return tokenizer


def _wrapped(
    backend: tokenizers.Tokenizer, roles: Mapping[str, str], further: Sequence[str]
) -> PreTrainedTokenizerBase:
    import transformers

    have = backend.get_vocab(with_added_tokens=True)
    for name in dict.fromkeys([*roles.values(), *further]):
        if name not in have:
            backend.add_tokens([special_token(name)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=[name for name in further if name not in roles.values()],
        clean_up_tokenization_spaces=False,
        **{f"{role}_token": name for role, name in roles.items()},
    )


def _strip_ends(backend: tokenizers.Tokenizer) -> None:
    """T5's published tokenizer.json makes a token of a text's last space; SentencePiece and transformers 5 do not."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    words = backend.pre_tokenizer
    every = isinstance(words, pre_tokenizers.Metaspace) and words.prepend_scheme == "always"
    if isinstance(backend.model, models.Unigram) and every:
        strip = normalizers.Replace(tokenizers.Regex(r"\A +| +\z"), "")
        before = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([*before, strip])


def _from_sentencepiece(path: pathlib.Path, settings: TokenizerSettings) -> PreTrainedTokenizerBase:
    """As transformers' (4) T5Tokenizer reads it."""
    proto = read_proto(path)
    names = {piece.piece: id for id, piece in enumerate(proto.pieces)}
    spec = proto.trainer_spec
    own = {
        role: getattr(spec, f"{role}_piece")
        for role in _T5_NAMES
        if getattr(spec, f"{role}_id") >= 0
    }
    named: dict[str, Any] = {role: settings.special(role) for role in ("bos", "sep", "cls", "mask")}
    named |= {role: settings.special(role) or own.get(role, _T5_NAMES[role]) for role in _T5_NAMES}
    roles = {role: name for role, name in named.items() if name}
    added = added_to_pieces(settings, names, roles)
    controls = {piece.piece for piece in proto.pieces if piece.type == piece.CONTROL}
    for name in controls - {str(token) for token in added.values()}:
        added.setdefault(names[name], special_token(name))
    backend = to_backend(proto, added, eos=roles["eos"], legacy=settings.flag("legacy", True))
    further = [str(added[id]) for id in sorted(added) if added[id].special]
    return _wrapped(backend, roles, further)
