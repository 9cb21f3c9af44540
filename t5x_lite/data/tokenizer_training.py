"""Training a vocabulary of one's own, in T5's layout, as files that both SentencePiece and
transformers read.

Ids: 0 `<pad>`, 1 `</s>`, 2 `<unk>`, then the user-defined symbols and the pieces, and the
sentinels `<extra_id_N>` on top, `<extra_id_0>` last. As in T5, the sentinels are the tokenizer's
and not in spiece.model.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from t5x_lite.console import log
from t5x_lite.data.fast_vocabulary import cleaned
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.sentencepiece_files import read_proto, to_backend
from t5x_lite.data.tokenizer_settings import special_token
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.errors import InputError

if TYPE_CHECKING:
    import tokenizers

_LONGEST_TEXT = 1 << 24  # bytes; SentencePiece's 4,192 silently skips long dialogues


def train_tokenizer(
    texts: Iterable[str],
    directory: str | os.PathLike[str],
    section: TrainedTokenizerSettings,
) -> Vocabulary:
    """Trains a SentencePiece model and writes spiece.model, tokenizer.json, tokenizer_config.json,
    special_tokens_map.json.

    The same texts and settings give the same bytes (one thread; nothing is sampled).

    Args:
      texts: what to learn from.
      directory: where the files go; created if need be.
      section: how large it is, and what it learns by. A newline is a symbol where `keep_newlines`
        says so, so that turns stay apart.

    Raises:
      InputError: no text, a vocabulary that is too large for the texts or
        too small for its symbols, or a symbol that normalization would change.
    """
    algorithm, max_sentences = section.algorithm, section.max_sentences
    extra_ids, keep_newlines = section.extra_ids, section.keep_newlines
    symbols = list(
        dict.fromkeys([*(["\n"] if keep_newlines else []), *section.user_defined_symbols])
    )
    chosen = [text for text in cleaned(texts) if text.strip()]
    chosen = chosen[:max_sentences] if max_sentences else chosen
    if not chosen:
        raise InputError("tokenizer: there is no text to train on")
    model = _train_sentencepiece(
        chosen, section.vocab_size - extra_ids, algorithm, symbols, section.byte_fallback
    )
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model)
    proto = read_proto(folder / "spiece.model")
    tokenizer = to_backend(proto, _added(len(proto.pieces), extra_ids), eos="</s>")
    for symbol in symbols:
        if tokenizer.encode(symbol, add_special_tokens=False).tokens[-1] != symbol:
            raise InputError(
                f"tokenizer.user_defined_symbols: {symbol!r} does not survive normalization"
                " (NFKC, single spaces); write"
                " it in its normal form"
            )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_settings(folder, extra_ids)
    log.info(
        "tokenizer: %d ids (%s) from %d texts, in %s",
        section.vocab_size,
        algorithm,
        len(chosen),
        folder,
    )
    return load_vocabulary(folder)


def _train_sentencepiece(
    texts: list[str], pieces: int, algorithm: str, symbols: list[str], byte_fallback: bool
) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=pieces,
            model_type=algorithm,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            pad_piece="<pad>",
            eos_piece="</s>",
            unk_piece="<unk>",
            user_defined_symbols=symbols,
            byte_fallback=byte_fallback,
            character_coverage=0.9999 if byte_fallback else 1.0,
            max_sentence_length=_LONGEST_TEXT,
            num_threads=1,  # sums in another order give other pieces
            minloglevel=2,
        )
    except (RuntimeError, OSError, ValueError) as error:
        reason = re.sub(r"^.*?\] ?", "", str(error).strip().splitlines()[-1])
        raise InputError(
            f"tokenizer.vocab_size: SentencePiece cannot make {pieces} pieces (vocab_size less"
            " the sentinels) of"
            f" {len(texts)} texts: {reason}"
        ) from error
    return model.getvalue()


def _added(pieces: int, extra_ids: int) -> dict[int, tokenizers.AddedToken]:
    names = {0: "<pad>", 1: "</s>", 2: "<unk>"}
    names |= {pieces + n: name for n, name in enumerate(reversed(_sentinels(extra_ids)))}
    return {id: special_token(name) for id, name in names.items()}


def _sentinels(extra_ids: int) -> list[str]:
    return [f"<extra_id_{i}>" for i in range(extra_ids)]


def _write_settings(folder: pathlib.Path, extra_ids: int) -> None:
    special = {
        "additional_special_tokens": _sentinels(extra_ids),
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    settings = {
        **special,
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(1e30),  # transformers' "no limit"; lengths are the config's
        # Not T5Tokenizer: that class rebuilds T5's pipeline, which folds newlines and knows no BPE.
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        (folder / name).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
