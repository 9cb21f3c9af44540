"""A text that is too long loses of its prompt, and the response stays; pairs that become equal are counted."""

import logging

import pytest

from t5x_lite.data.classifier_text import of_vocabulary
from t5x_lite.data.kept_responses import render_kept
from t5x_lite.data.preferences import pair_examples, pair_sides
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.interop.hub import BUNDLED

LENGTH = 64
TEMPLATE = "{dialogue}\nSummary: {response}"
LONG = " ".join(f"we talk about flight {i}." for i in range(60))


@pytest.fixture(scope="module")
def vocabulary():
    return load_vocabulary(BUNDLED["nano"])


@pytest.fixture
def tokenizer(vocabulary):
    return of_vocabulary(vocabulary, LENGTH)


def rows(count=3, **fields):
    one = {
        "dialogue": LONG,
        "chosen": "It was a kind talk.",
        "rejected": "You are stupid.",
    } | fields
    return [one | {"id": str(i)} for i in range(count)]


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def test_the_response_stays_and_the_start_of_the_prompt_goes(vocabulary, tokenizer, caplog):
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        pairs = pair_examples(rows(), TEMPLATE, tokenizer)
    for side, response in (
        (pairs.encoder_input_tokens, "It was a kind talk."),
        (pairs.decoder_target_tokens, "You are stupid."),
    ):
        (text,) = vocabulary.decode([side[0]])
        assert text.endswith(f"Summary: {response}")
        kept = text[: text.index("Summary:")].strip()
        assert LONG.endswith(kept) and kept and kept.split()[0] in LONG.split()
        assert LENGTH - 8 <= len(side[0]) <= LENGTH
    assert said(caplog) == [
        "classifier: of 3 texts 3 have more than 64 tokens: they lose the start of {dialogue}, so that their response"
        " stays"
    ]


def test_what_stands_behind_the_response_is_cut_at_its_end_as_ever(tokenizer):
    template = "{response}\n{dialogue}"
    pairs = pair_examples(rows(), template, tokenizer)
    whole = tokenizer.encode_whole([f"It was a kind talk.\n{LONG}"])[0]
    assert pairs.encoder_input_tokens[0].tolist()[:-1] == whole[: LENGTH - 1]


def test_short_texts_and_those_without_a_response_are_left_alone(tokenizer, caplog):
    short = rows(dialogue="Hi.")
    texts = render_kept(TEMPLATE, [{**row, "response": "Yes."} for row in short], tokenizer)
    assert texts == ["Hi.\nSummary: Yes."] * 3
    assert render_kept("{dialogue}", rows(), tokenizer) == [LONG] * 3
    assert render_kept(TEMPLATE, [], tokenizer) == []
    assert not caplog.records


def test_the_longest_of_several_fields_is_shortened_first(tokenizer):
    row = {"context": LONG, "question": "Which flight?", "response": "The last one."}
    (text,) = render_kept("{context}\nQ: {question}\nA: {response}", [row], tokenizer)
    assert text.endswith("\nQ: Which flight?\nA: The last one.")
    (text,) = render_kept(
        "{context}\nQ: {question}\nA: {response}", [row | {"question": LONG + "?"}], tokenizer
    )
    assert text.endswith("flight 59.\nQ: \nA: The last one.")
    assert len(tokenizer.encode_whole([text])[0]) <= LENGTH


def test_texts_without_spaces_are_cut_between_characters(tokenizer):
    row = {"dialogue": "abcdefghij" * 60, "response": "Short."}
    (text,) = render_kept(TEMPLATE, [row], tokenizer)
    assert text.endswith("j\nSummary: Short.") and len(tokenizer.encode_whole([text])[0]) <= LENGTH
    assert len(text) > 40


def test_pairs_that_are_equal_when_cut_are_counted(tokenizer, caplog):
    long = rows(2, chosen=LONG + " Good.", rejected=LONG + " Bad.")
    same = rows(1, chosen="Same.", rejected="Same.")
    fine = rows(1)
    for make in (
        lambda: pair_examples(long + same + fine, "{response}", tokenizer),
        lambda: pair_sides(long + same + fine, TEMPLATE, tokenizer),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="t5x_lite"):
            make()
        (warning,) = [text for text in said(caplog) if "pairs" in text]
        assert warning.startswith(
            "3 of 4 pairs have the same tokens chosen and rejected (2 of them only since they were cut;"
            " the first is row 0)"
        )
    caplog.clear()
    pair_examples(fine, TEMPLATE, tokenizer)
    assert not any("pairs" in text for text in said(caplog))


def test_a_text_that_normalization_makes_longer_keeps_its_response(vocabulary):
    """U+33C2 is three bytes, and "a.m." once normalized: few bytes may be more tokens."""
    tokenizer = of_vocabulary(vocabulary, 44)
    row = {"dialogue": "\u33c2" * 10, "response": "Yes"}
    whole = TEMPLATE.format(**row)
    assert len(whole.encode()) < 44 < len(tokenizer.encode_whole([whole])[0])
    (text,) = render_kept(TEMPLATE, [row], tokenizer)
    (ids,) = tokenizer.encode([text])
    assert vocabulary.decode([ids])[0].endswith("Summary: Yes")
