"""From tokens to what an answer says of them: text without its stop string, and OpenAI's log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.stream import Pieces
from t5x_lite.serving.tickets import Part


class OutputText:
    """The text of one output as its tokens come: piece by piece, up to the first of `stop`, which is not shown."""

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str]):
        self._pieces, self._stop = Pieces(vocabulary), tuple(stop)
        self._held = ""  # may be the beginning of a stop string
        self._over = False

    def push(self, tokens: Sequence[int], *, ended: bool) -> str:
        """What may be shown now; with `ended` all there is."""
        text = self._held + self._pieces.push(tokens)
        if ended:
            text += self._pieces.rest()
        if self._over:
            return ""
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self._over = True
            return text[: min(found)]
        kept = 0 if ended else _begun(text, self._stop)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _begun(text: str, stops: Sequence[str]) -> int:
    """The length of the longest end of `text` that a stop string begins with.

    >>> _begun("a #Pers", ("#Person2#:", "zz"))
    5
    """
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest


class TokenTexts:
    """What each token is called in log-probabilities."""

    def __init__(self, vocabulary: Vocabulary):
        self._bytes = vocabulary.token_bytes()

    def __getitem__(self, token: int) -> str:
        data = self._bytes[token] if token < len(self._bytes) else None
        return f"<{token}>" if data is None else data.decode(errors="replace")


def logprobs_object(
    part: Part, names: TokenTexts, eos: Sequence[int], alternatives: int, offset: int
) -> dict[str, Any]:
    """OpenAI's object of a part, without eos, which is no text. offset: characters before it."""
    kept = [number for number, token in enumerate(part.tokens) if token not in eos]
    texts = [names[part.tokens[number]] for number in kept]
    if texts and not offset:
        texts[0] = texts[0].removeprefix(" ")  # as the text of the whole has it
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    tops = [
        {names[token]: logprob for token, logprob in part.alternatives[number][:alternatives]}
        for number in kept
    ]
    return {
        "tokens": texts,
        "token_logprobs": [part.logprobs[number] for number in kept],
        "top_logprobs": tops if alternatives else None,
        "text_offset": offsets,
    }
