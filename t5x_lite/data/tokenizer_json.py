"""A tokenizer.json as a `tokenizers.Tokenizer`, its added tokens with the ids that the file gives them."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

from t5x_lite.data.sentencepiece_files import GAP, NEVER, SPACE
from t5x_lite.data.tokenizer_settings import MOST_TOKENS
from t5x_lite.foreign.json_files import read_json

if TYPE_CHECKING:
    import tokenizers


def read_backend(path: pathlib.Path) -> tokenizers.Tokenizer:
    """The tokenizer of a file.

    `tokenizers` counts ids on where an added token's lies higher, and where normalization leaves nothing of a token
    (a newline) it finds it between any two letters; neither is so here.

    Raises:
      Exception: whatever the parsers make of an unreadable file.
    """
    import tokenizers

    content = read_json(path)
    for token in content.get("added_tokens", ()):
        if not 0 <= token["id"] < MOST_TOKENS:
            raise ValueError(f"added_tokens: {token['id']} is no token id (0 to {MOST_TOKENS})")
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    changed = _keep_apart(content, backend)
    changed |= _fill_gaps(content)
    return tokenizers.Tokenizer.from_str(json.dumps(content)) if changed else backend


def _keep_apart(content: dict[str, Any], backend: tokenizers.Tokenizer) -> bool:
    """Takes "normalized" from added tokens that normalization makes spaces, or nothing."""
    changed = False
    for token in content.get("added_tokens", ()):
        if not token.get("normalized") or backend.normalizer is None:
            continue
        name = token["content"]
        left = backend.normalizer.normalize_str(name)
        if left != name and not left.strip(f" {SPACE}"):
            token["normalized"] = False
            changed = True
    return changed


def _fill_gaps(content: dict[str, Any]) -> bool:
    """Gives the ids of added tokens, and those that they leave free, a place in the model."""
    vocab = content["model"].get("vocab")
    added = {token["id"]: token["content"] for token in content.get("added_tokens", ())}
    if not added or not vocab:
        return False
    size = len(vocab)
    above = {id for id in added if id >= size}
    # `tokenizers` counts on from the model's size: whatever lies below the last gap must be in the model.
    last = max(set(range(size, max(above, default=0))) - above, default=size - 1)
    for id in range(size, last + 1):
        name = added.get(id, f"{GAP}{id}")
        if isinstance(vocab, list):
            vocab.append([name, NEVER])
        else:
            vocab.setdefault(name, id)
    return last >= size
