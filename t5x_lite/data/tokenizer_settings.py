"""What the JSON files beside a tokenizer say: the class, the special tokens, and tokens that were added later."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t5x_lite.foreign.json_files import read_json

if TYPE_CHECKING:
    import tokenizers

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_SENTINEL = "<extra_id_"
_ADDED = "added_tokens_decoder"
MOST_TOKENS = 1 << 21  # no vocabulary has half of it, and every id below the highest takes a place
_MOST_SENTINELS = 10_000
# transformers writes one or the other.
_LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class TokenizerSettings:
    """The files' content.

    fields: of tokenizer_config.json; those of special_tokens_map.json go over them where there is no
      `added_tokens_decoder`, as in transformers.
    added: of tokenizer_config.json's `added_tokens_decoder`, or else of added_tokens.json: id to flags, with "content".
    """

    fields: Mapping[str, Any]
    added: Mapping[int, Mapping[str, Any]]

    @property
    def class_name(self) -> str:
        """The tokenizer's class without "Fast"; "" where none is named."""
        return str(self.fields.get("tokenizer_class") or "").removesuffix("Fast")

    def special(self, role: str) -> str | None:
        """The special token of a role, e.g. "eos"."""
        return _content(self.fields.get(f"{role}_token"))

    @property
    def further_special(self) -> list[str]:
        """The special tokens that have no role, in order."""
        found = [_content(token) for key in _LISTS for token in _listed(self.fields.get(key))]
        return list(dict.fromkeys(name for name in found if name))

    @property
    def every_special(self) -> list[str]:
        """All special tokens."""
        named = [name for role in ROLES if (name := self.special(role))]
        return list(dict.fromkeys([*named, *self.further_special]))

    def flag(self, name: str, default: bool) -> bool:
        """A field that is true or false.

        Raises:
          ValueError: it is something else.
        """
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r:.80}; expected true or false")
        return default if value is None else value

    def token(self, id: int) -> tokenizers.AddedToken:
        """An added token with its flags."""
        flags = self.added[id]
        name = str(flags["content"])
        kept = {key: bool(flags.get(key)) for key in ("lstrip", "rstrip", "single_word")}
        return _token(
            name, special=bool(flags.get("special")) or name in self.every_special, **kept
        )


def read_settings(folder: pathlib.Path) -> TokenizerSettings:
    """What the files in `folder` say; nothing where there are none.

    Raises:
      ValueError: a file that is not JSON, or not the JSON that it should be.
    """
    fields = _read(folder / "tokenizer_config.json")
    if decoder := fields.get(_ADDED):
        added = {_id(id): _flags(token) for id, token in _object(decoder, _ADDED).items()}
    else:
        older = _read(folder / "special_tokens_map.json")
        united = {key: [*_listed(fields.get(key)), *_listed(older.get(key))] for key in _LISTS}
        fields = {**fields, **older, **{key: tokens for key, tokens in united.items() if tokens}}
        tokens = _read(folder / "added_tokens.json")
        added = {_id(id): {"content": name} for name, id in tokens.items()}
    return TokenizerSettings(fields, added)


def sentinel_count(settings: TokenizerSettings, names: Mapping[str, int]) -> int:
    """How many `<extra_id_N>` a T5 tokenizer adds to its pieces: as many as it lists or says, else 100 (none if it has
    its own).

    names: the pieces.
    """
    listed = sum(name.startswith(_SENTINEL) for name in settings.further_special)
    if listed:
        return listed
    has_own = any(f"{start}{_SENTINEL}0>" in names for start in ("", "▁"))
    count = settings.fields.get("extra_ids", 0 if has_own else 100)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST_SENTINELS:
        raise ValueError(f"extra_ids is {count!r:.80}; expected 0 to {_MOST_SENTINELS}")
    return count


def added_to_pieces(
    settings: TokenizerSettings, names: Mapping[str, int], roles: Mapping[str, str]
) -> dict[int, tokenizers.AddedToken]:
    """The tokens that transformers' (4) T5Tokenizer finds in a text before SentencePiece sees it, by id.

    These are the special tokens; T5's sentinels, downwards right above the pieces; and what was added later, which the
    files give ids. What has none comes after all the others.

    Args:
      settings: of the directory.
      names: the pieces and their ids.
      roles: the names of the special tokens by role.
    """
    size = len(names)
    found: dict[int, tokenizers.AddedToken] = {}
    count = sentinel_count(settings, names)
    for number in range(count):
        name = f"{_SENTINEL}{number}>"
        if name not in names:
            found[size + count - 1 - number] = _token(name, special=True, lstrip=True, rstrip=True)
    for id in settings.added:
        name = str(settings.added[id]["content"])
        for other in [at for at, token in found.items() if str(token) == name]:
            del found[other]
        found[id] = settings.token(id)
    if any(str(token).isspace() for token in found.values()):
        # A sentinel takes the spaces around it along, but no tokens of their own.
        for id, token in found.items():
            if str(token).startswith(_SENTINEL):
                found[id] = special_token(str(token))
    have = {str(token) for token in found.values()}
    for name in dict.fromkeys([*roles.values(), *settings.every_special]):
        if name in have:
            continue
        id = names[name] if name in names else size + sum(at >= size for at in found)
        while id in found:
            id += 1
        found[id] = _token(name, special=True)
    return found


def special_token(name: str) -> tokenizers.AddedToken:
    """A token that decoding leaves out, and that is found in a text before anything else."""
    return _token(name, special=True)


def _token(name: str, *, special: bool, **flags: bool) -> tokenizers.AddedToken:
    import tokenizers

    # Never normalized: a newline, once normalized, is the space between any two words.
    return tokenizers.AddedToken(name, normalized=False, special=special, **flags)


def _read(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} holds no JSON object")
    return content


def _content(token: Any) -> str | None:
    """The text of a token, which is a string or an object with its flags."""
    if isinstance(token, Mapping):
        token = token.get("content")
    if token is not None and not isinstance(token, str):
        raise ValueError(f"a token is {token!r:.80}; expected its text")
    return token or None


def _flags(token: Any) -> Mapping[str, Any]:
    flags = token if isinstance(token, Mapping) else {"content": token}
    if not isinstance(flags.get("content"), str):
        raise ValueError(f"{_ADDED}: a token is {token!r:.80}; expected its text")
    return flags


def _id(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MOST_TOKENS:
        raise ValueError(f"{value!r:.80} is no token id (0 to {MOST_TOKENS})")
    return number


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r:.80}; expected a JSON object")
    return value


def _listed(tokens: Any) -> list[Any]:
    if isinstance(tokens, Mapping):
        return list(tokens.values())
    if tokens and not isinstance(tokens, list):
        raise ValueError(f"{tokens!r:.80} is no list of tokens")
    return list(tokens or ())
