import logging

import numpy as np
import pytest

from t5x_lite.data.features import Examples, Ragged, make_examples, to_batch
from t5x_lite.data.truncation import GAP, has_turns
from t5x_lite.errors import InputError

PROMPT = "Summarize:\n{dialogue}\nSummary of {id}:"


def examples_of(rows, vocabulary, **changes):
    settings = dict(
        template=PROMPT,
        target="summary",
        encoder_length=400,
        decoder_length=200,
        truncation="error",
        cut_field="dialogue",
        name="train",
    )
    return make_examples(rows, vocabulary, **settings | changes)


def texts(ragged, vocabulary):
    return vocabulary.decode([ragged[i] for i in range(len(ragged))])


def test_ragged_holds_the_sequences():
    lists = [[3, 4], [], [5], [6, 7, 8]]
    ragged = Ragged.from_lists(lists)
    assert [ragged[i].tolist() for i in range(len(ragged))] == lists
    assert ragged.lengths.tolist() == [2, 0, 1, 3]
    assert (ragged.flat.dtype, ragged.offsets.dtype) == (np.int32, np.int64)
    assert len(Ragged.from_lists([])) == 0


def test_examples_are_the_rendered_rows_with_eos(rows, vocabulary):
    examples = examples_of(rows, vocabulary)
    expected = [f"Summarize:\n{r['dialogue']}\nSummary of {r['id']}:" for r in rows]
    for ragged, wanted in (
        (examples.encoder_input_tokens, expected),
        (examples.decoder_target_tokens, [row["summary"] for row in rows]),
    ):
        assert texts(ragged, vocabulary) == wanted
        for i in range(len(wanted)):
            assert ragged[i][-1] == vocabulary.eos_id
            assert (ragged[i] == vocabulary.eos_id).sum() == 1
    assert (examples.encoder_lengths == examples.encoder_input_tokens.lengths).all()


LENGTH = 90
SLACK = 4  # a text cut within a word splits into other tokens, sometimes fewer


@pytest.fixture(scope="module")
def long_rows(rows, vocabulary):
    whole = examples_of(rows, vocabulary).encoder_lengths
    assert (whole > LENGTH).sum() >= 5 and (whole <= LENGTH).sum() >= 5
    return whole


@pytest.mark.parametrize("policy", ["end", "middle", "oldest_turns"])
def test_truncation_cuts_only_the_dialogue_and_fills_the_budget(
    policy, rows, vocabulary, long_rows
):
    examples = examples_of(rows, vocabulary, encoder_length=LENGTH, truncation=policy)
    lengths = examples.encoder_lengths
    untouched = examples_of(rows, vocabulary)
    turns = [len(row["dialogue"].split("\n")) for row in rows]
    for i, (row, text) in enumerate(
        zip(rows, texts(examples.encoder_input_tokens, vocabulary), strict=True)
    ):
        head, tail = "Summarize:\n", f"\nSummary of {row['id']}:"
        assert text.startswith(head) and text.endswith(tail)
        kept = text[len(head) : -len(tail)]
        if long_rows[i] <= LENGTH:
            assert (examples.encoder_input_tokens[i] == untouched.encoder_input_tokens[i]).all()
            continue
        assert kept and len(kept) < len(row["dialogue"])
        if policy == "end":
            assert row["dialogue"].startswith(kept)
            assert LENGTH - SLACK <= lengths[i] <= LENGTH
        elif policy == "middle":
            start, end = kept.split(GAP.strip())[0].rstrip(), kept.split(GAP.strip())[-1].lstrip()
            assert row["dialogue"].startswith(start) and row["dialogue"].endswith(end)
            assert start and end and LENGTH - SLACK <= lengths[i] <= LENGTH
        else:
            whole = row["dialogue"].split("\n")
            remaining = kept.split("\n")
            assert whole[-len(remaining) :] == remaining  # whole turns, the newest
            assert lengths[i] <= LENGTH
            one_more = "\n".join(whole[-len(remaining) - 1 :])
            (ids,) = vocabulary.encode([head + one_more + tail], add_eos=True)
            assert len(ids) > LENGTH and len(remaining) < turns[i]


def test_oldest_turns_cuts_a_single_turn_that_is_too_long_at_its_end(vocabulary):
    long_turn = "Mia: " + "green potatoes " * 300 + "yesterday"
    row = {"id": "row 1", "dialogue": f"Sam: soup\n{long_turn}", "summary": "s"}
    examples = examples_of([row], vocabulary, encoder_length=60, truncation="oldest_turns")
    (text,) = texts(examples.encoder_input_tokens, vocabulary)
    head, tail = "Summarize:\n", "\nSummary of row 1:"
    assert text.startswith(head) and text.endswith(tail)
    assert long_turn.startswith(text[len(head) : -len(tail)])
    assert 60 - SLACK <= examples.encoder_lengths[0] <= 60


ARTICLE = "The news comes first.\n\n" + "\n\n".join(
    f"Paragraph {i}. " + "The flight was moved from Sunday to Wednesday. " * 5 for i in range(6)
)


def test_oldest_turns_keeps_the_lead_of_a_text_without_turns(vocabulary, caplog):
    talk = "\n".join(f"Ann: soup {i} and more\nBob: rice {i}" for i in range(40))
    rows = [
        {"id": name, "dialogue": text, "summary": "s"}
        for name, text in (("article", ARTICLE), ("talk", talk))
    ]
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        examples = examples_of(rows, vocabulary, encoder_length=128, truncation="oldest_turns")
    article, talk = texts(examples.encoder_input_tokens, vocabulary)
    assert "news comes first" in article and "Paragraph 5" not in article
    assert "rice 39" in talk and "soup 0" not in talk
    assert examples.encoder_lengths[0] >= 128 - SLACK
    (record,) = caplog.records
    assert "1 their end and 1 their start lost (no turns in them" in record.getMessage()


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("#Person1#: Hi\n#Person2#: Ho", True),
        ("Human: a list\n- one\n- two\n- three\n\nHuman: thanks", True),
        ("Ann：你好\nBob：再见", True),
        (ARTICLE, False),
        ("One line: no talk", False),
        ("See https://a.b\nand http://c.d", False),
        ("Title\nUpdate: it rains.\nThen\nmore\nNote: and snows.", False),
    ],
)
def test_what_is_a_conversation(text, turns):
    assert has_turns(text) == turns


def test_cuts_are_reported_in_one_line(rows, vocabulary, long_rows, caplog):
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        examples = examples_of(rows, vocabulary, encoder_length=LENGTH, truncation="end")
    dropped = long_rows.sum() - examples.encoder_lengths.sum()
    (record,) = caplog.records
    assert record.getMessage() == (
        f"train inputs: cut {(long_rows > LENGTH).sum()} rows to {LENGTH} tokens by the policy 'end'"
        f" ({dropped} tokens dropped; the longest had {long_rows.max()}):"
        f" {(long_rows > LENGTH).sum()} their end lost"
    )


def test_long_targets_lose_their_end_and_keep_eos(rows, vocabulary, caplog):
    whole = examples_of(rows, vocabulary).decoder_target_tokens
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        cut = examples_of(rows, vocabulary, decoder_length=20, truncation="end")
    for i in range(len(whole)):
        expected = whole[i] if len(whole[i]) <= 20 else np.append(whole[i][:19], vocabulary.eos_id)
        assert cut.decoder_target_tokens[i].tolist() == expected.tolist()
    assert f"train targets: cut {(whole.lengths > 20).sum()} rows" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(encoder_length=20),
            r"train inputs: row 'row 0' has \d+ tokens, over the limit of 20",
        ),
        (dict(decoder_length=5), r"train targets: row 'row 0' has \d+ tokens, over the limit of 5"),
        (
            dict(truncation="left"),
            "data.truncation: 'left' is not one of error, end, middle, oldest",
        ),
        (dict(truncation="end", cut_field="text"), "data.cut_field: 'text' is not in the template"),
        (dict(truncation="end", encoder_length=8), "the template alone takes .* of 8 tokens"),
        (dict(truncation="middle", encoder_length=8), "the template alone takes .* of 8 tokens"),
        (dict(truncation="oldest_turns", encoder_length=8), "leaves no room for 'dialogue'"),
        (dict(template="{text}"), r"unknown field \{text\}; the rows have dialogue, id, summary"),
    ],
    ids=str,
)
def test_bad_lengths_and_policies(changes, message, rows, vocabulary):
    with pytest.raises(InputError, match=message) as error:
        examples_of(rows, vocabulary, **changes)
    assert "\n" not in str(error.value)


EXAMPLES = Examples(
    Ragged.from_lists([[5, 6, 1], [7, 1], [8, 9, 10, 1]]),
    Ragged.from_lists([[11, 1], [12, 13, 1], [14, 1]]),
)
SETTINGS = dict(epoch=0, pad_id=0, decoder_start_id=99)


def test_padded_batch_as_literal_arrays():
    batch = to_batch(
        EXAMPLES, [[0], [], [1]], encoder_length=4, decoder_length=3, packed=False, **SETTINGS
    )
    expected = {
        "encoder_input_tokens": [[5, 6, 1, 0], [0, 0, 0, 0], [7, 1, 0, 0]],
        "decoder_input_tokens": [[99, 11, 0], [0, 0, 0], [99, 12, 13]],
        "decoder_target_tokens": [[11, 1, 0], [0, 0, 0], [12, 13, 1]],
        "decoder_loss_weights": [[1, 1, 0], [0, 0, 0], [1, 1, 1]],
    }
    assert {key: value.tolist() for key, value in batch.items()} == expected
    for key, value in batch.items():
        assert value.dtype == (np.float32 if key == "decoder_loss_weights" else np.int32)


def test_packed_batch_as_literal_arrays():
    batch = to_batch(
        EXAMPLES, [[2, 0], [1], []], encoder_length=8, decoder_length=5, packed=True, **SETTINGS
    )
    expected = {
        "encoder_input_tokens": [[8, 9, 10, 1, 5, 6, 1, 0], [7, 1, 0, 0, 0, 0, 0, 0], [0] * 8],
        "decoder_input_tokens": [[99, 14, 99, 11, 0], [99, 12, 13, 0, 0], [0] * 5],
        "decoder_target_tokens": [[14, 1, 11, 1, 0], [12, 13, 1, 0, 0], [0] * 5],
        "decoder_loss_weights": [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0] * 5],
        "encoder_segment_ids": [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 0, 0, 0, 0, 0, 0], [0] * 8],
        "decoder_segment_ids": [[1, 1, 2, 2, 0], [1, 1, 1, 0, 0], [0] * 5],
    }
    assert {key: value.tolist() for key, value in batch.items()} == expected


def test_a_row_that_does_not_fit_is_refused():
    for lengths in (
        dict(encoder_length=6, decoder_length=9),
        dict(encoder_length=9, decoder_length=3),
    ):
        with pytest.raises(ValueError, match="row 0: 7/4 tokens in"):
            to_batch(EXAMPLES, [[2, 0]], packed=True, **lengths, **SETTINGS)
