"""Texts of a prompt and a response that are too long for their model lose of the prompt, so that the response is read.

A classifier's tokenizer cuts the end of a text, and there the response mostly stands: without it two responses to a
long prompt are the same text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.data.templates import Template, find_template

# Fields that are what is judged (`rl.rewards`); every other one may be shortened.
RESPONSES = ("response", "raw_response")
_WORD = re.compile(r"\s\S")
_NEAR = 40  # characters within which a word's beginning is looked for


def render_kept(
    template: str, rows: Sequence[Mapping[str, str]], tokenizer: ClassifierTokenizer
) -> list[str]:
    """The template filled with each row, at most `tokenizer.max_length` tokens up to the end of its response.

    Where the response would be cut, the longest field before it loses its start (trl's "keep_end"), at a word's
    beginning; then the next longest. What stands behind the response, and a response that is too long by itself, is
    left for the tokenizer to cut at the end. The log says so once.
    """
    parsed = find_template(template)
    texts = [parsed.render(row) for row in rows]
    before = _up_to_response(parsed)
    if before is None:
        return texts
    short = len(tokenizer.encode_whole([""])[0]) if texts else 0
    # No tokenizer makes more tokens of a text than it has bytes, one for the word that begins, once it is normalized.
    candidates = [
        i for i, text in enumerate(texts) if _most_tokens(text) + short > tokenizer.max_length
    ]
    rest = {i: dict(rows[i]) for i in candidates}
    long = _too_long(rest, before, tokenizer)
    if not long:
        return texts
    fields = [field for field in before.fields if field not in RESPONSES]
    tokenizer.warn_once(
        "of %d texts %d have more than %d tokens: they lose the start of {%s}, so that their response stays",
        *(len(texts), len(long), tokenizer.max_length, "} or {".join(fields)),
    )
    for rank in range(len(fields)):
        longest = {i: sorted(fields, key=lambda f: -len(rows[i][f]))[rank] for i in long}
        _shorten({i: rest[i] for i in long}, longest, before, tokenizer)
        long = _too_long({i: rest[i] for i in long}, before, tokenizer)
    for i in candidates:
        texts[i] = parsed.render(rest[i])
    return texts


def _most_tokens(text: str) -> int:
    whole = unicodedata.normalize("NFKC", text)
    return 1 + max(len(one.encode(errors="surrogatepass")) for one in (text, whole))


def _up_to_response(template: Template) -> Template | None:
    """The template's part that ends with its last response; None where no field before that may be shortened."""
    ends = [
        template.text.rfind(f"{{{name}}}") + len(name) + 2
        for name in RESPONSES
        if name in template.fields
    ]
    if not ends:
        return None
    before = find_template(template.text[: max(ends)])
    return before if set(before.fields) - set(RESPONSES) else None


def _too_long(
    rows: Mapping[int, Mapping[str, str]], template: Template, tokenizer: ClassifierTokenizer
) -> list[int]:
    ids = tokenizer.encode_whole([template.render(row) for row in rows.values()])
    return [i for i, one in zip(rows, ids, strict=True) if len(one) > tokenizer.max_length]


def _shorten(
    rows: Mapping[int, dict[str, str]],
    fields: Mapping[int, str],
    template: Template,
    tokenizer: ClassifierTokenizer,
) -> None:
    """Shortens each row's field to its longest end that fits, by bisection over its characters, all rows at once."""
    whole = {i: row[fields[i]] for i, row in rows.items()}
    low, high = (
        dict.fromkeys(rows, 0),
        {i: len(text) for i, text in whole.items()},
    )  # characters kept
    while any(low[i] < high[i] for i in rows):
        middle = {i: (low[i] + high[i] + 1) // 2 for i in rows}
        tried = {
            i: {**row, fields[i]: whole[i][len(whole[i]) - middle[i] :]} for i, row in rows.items()
        }
        long = set(_too_long(tried, template, tokenizer))
        for i in rows:
            if i in long:
                high[i] = middle[i] - 1
            else:
                low[i] = middle[i]
    for i, row in rows.items():
        row[fields[i]] = _from_a_word(whole[i], len(whole[i]) - low[i])


def _from_a_word(text: str, start: int) -> str:
    """The text from that character, or from the next word's beginning if one is near."""
    if 0 < start < len(text) and not text[start - 1].isspace():
        match = _WORD.search(text, start, start + _NEAR)
        start = match.end() - 1 if match else start
    return text[start:]
