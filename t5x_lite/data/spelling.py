"""What a vocabulary cannot spell, told before a model learns from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from t5x_lite.console import log
from t5x_lite.data.fast_vocabulary import Vocabulary

_SHOWN = 12
_LOOKED_AT = 200  # texts, for the examples; all are counted


def report_unspelled(
    name: str,
    ids: Sequence[Collection[int]],
    text: Callable[[int], str],
    vocabulary: Vocabulary,
    *,
    folded: Sequence[int] = (),
) -> None:
    """One warning with a count and examples, if any of the texts holds what the vocabulary cannot spell.

    Cheap: a search for one id in each sequence; only the first 200 texts found are looked at again.

    Args:
      name: what the log calls the texts, e.g. "train targets".
      ids: their tokens.
      text: the text of a number in `ids`.
      vocabulary: the tokenizer.
      folded: numbers of texts whose newlines or tabs it makes spaces (`folded_characters`).
    """
    unk = vocabulary.unk_id
    unknown = [number for number, row in enumerate(ids) if unk is not None and unk in row]
    found = sorted({*unknown, *folded})
    if not found:
        return
    seen: Counter[str] = Counter()
    lost = folded_characters(vocabulary) if folded else ""
    for number in found[:_LOOKED_AT]:
        seen.update(sorted(set(_unspelled(text(number), vocabulary))))
        seen.update(character for character in lost if character in text(number))
    log.warning(
        "%s: %d of %d have what the vocabulary cannot spell: %s%s; a model reads and learns %s in its place."
        " Take a vocabulary that has it (ByT5; one trained with byte_fallback, keep_newlines), or write it otherwise",
        name, len(found), len(ids), " ".join(repr(part) for part, _ in seen.most_common(_SHOWN)),
        " …" if len(seen) > _SHOWN else "",
        "<unk> or a space" if unknown and folded else "<unk>" if unknown else "a space",
    )  # fmt: skip


def _unspelled(text: str, vocabulary: Vocabulary) -> list[str]:
    """The characters of a text that are unknown, or the word where they are so only together."""
    (ids,) = vocabulary.encode([text], add_eos=False)
    spans = vocabulary.boundaries(text)
    parts = {
        text[start:end].strip()
        for token, (start, end) in zip(ids, spans, strict=False)
        if token == vocabulary.unk_id
    }
    return [
        character
        for part in parts
        for character in [c for c in part if _is_unknown(c, vocabulary)] or [part]
        if character
    ]


def _is_unknown(character: str, vocabulary: Vocabulary) -> bool:
    return vocabulary.unk_id in vocabulary.encode([character], add_eos=False)[0]


def folded_characters(vocabulary: Vocabulary) -> str:
    """Those of newline and tab that the vocabulary gives back as a space, or not at all."""
    probes = {character: f"a{character}a" for character in "\n\t"}
    texts = vocabulary.decode(vocabulary.encode(list(probes.values()), add_eos=False))
    return "".join(
        character for character, text in zip(probes, texts, strict=True) if character not in text
    )
