"""What calls are given by people: columns of tables, tokens of other libraries, and what is nothing of the kind."""

import numpy as np
import pandas
import pytest
import torch

from t5x_lite import load_pretrained
from t5x_lite.decoding.call_inputs import as_texts, as_token_ids
from t5x_lite.errors import InputError


@pytest.fixture(scope="module")
def t5():
    return load_pretrained("nano")


@pytest.mark.parametrize(
    "texts",
    [["a", "b"], ("a", "b"), np.array(["a", "b"]), pandas.Series(["a", "b"]), iter("ab")],
    ids=type,
)
def test_texts_of_any_collection(t5, texts):
    texts = as_texts(texts)
    assert texts == ["a", "b"]
    np.testing.assert_array_equal(t5.encode(texts), t5.encode(["a", "b"]))


@pytest.mark.parametrize("texts", ["ab", b"ab", {"input_ids": [[5, 1]]}, {"ab"}, None, 5], ids=repr)
def test_what_are_no_texts(t5, texts):
    """The output of a tokenizer was the text "input_ids"; a set came in any order; None gave nothing."""
    for call in (t5.generate, t5.generate_with_scores, t5.encode, lambda x: t5.score(x, [["a"]])):
        with pytest.raises(InputError, match="texts: expected a list of texts, got a"):
            call(texts)


def test_nothing_is_nothing(t5):
    for texts in ([], (), np.array([]), pandas.Series([], dtype=object)):
        assert t5.generate(texts) == [] == t5.generate_with_scores(texts)


def test_one_text_is_no_list_of_letters(t5):
    with pytest.raises(InputError, match=r"write \[text\]"):
        t5.tokenizer.encode("hello", add_eos=True)
    with pytest.raises(InputError, match=r"choices: expected a list of texts, .* write \[text\]"):
        t5.score(["a", "b"], ["yes", "no"])


@pytest.mark.parametrize(
    "tokens", [[[5, 1]], torch.tensor([[5, 1]]), np.array([[5, 1]], np.uint8)], ids=type
)
def test_tokens_of_other_libraries(tokens):
    found = as_token_ids(tokens, 9)
    assert found.dtype == np.int32 and found.tolist() == [[5, 1]]


NO_TOKENS = {
    "beyond the embedding": ([[5, 2048]], "2048 is no token of the model, which embeds 0 to 2047"),
    "labels that are hidden": ([[5, 1, -100]], "-100 is no token of the model.*hold the pad token"),
    "floats": ([[5.0, 1.0]], "expected whole numbers, got float64"),
    "booleans": ([[True, False]], "expected whole numbers, got bool"),
    "texts": ([["a"]], "expected whole numbers"),
    "ragged": ([[5, 6, 1], [5, 1]], "rows of several lengths; fill them up"),
    "one row": ([5, 1], r"expected \[batch, length\], got the shape \(2,\)"),
    "no rows": (np.zeros((0, 4), int), r"got the shape \(0, 4\)"),
}


@pytest.mark.parametrize("tokens, message", NO_TOKENS.values(), ids=NO_TOKENS)
def test_what_are_no_tokens(t5, tokens, message):
    """Ids without an embedding gave texts of padding, NaN, or another token's embedding, in silence."""
    good = np.array([[5, 1]])
    for call in (
        lambda: t5.generate_tokens(tokens),
        lambda: t5.stream_tokens(tokens),
        lambda: t5.logits({"encoder_input_tokens": tokens, "decoder_input_tokens": good}),
        lambda: t5.logits({"encoder_input_tokens": good, "decoder_input_tokens": tokens}),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_sides_of_other_lengths(t5):
    rows = {
        "encoder_input_tokens": np.ones((2, 3), int),
        "decoder_input_tokens": np.ones((1, 3), int),
    }
    with pytest.raises(InputError, match="2 rows of encoder_input_tokens and 1 of decoder_input"):
        t5.logits(rows)
    with pytest.raises(InputError, match="choices: 1 lists of them for 2 texts"):
        t5.score(["a", "b"], [["yes"]])
    with pytest.raises(InputError, match="choices: row 1 has none"):
        t5.score(["a", "b"], [["yes"], []])


@pytest.mark.parametrize(
    "given", [{"source": None}, {"source": 5}, {"tokenizer": 5.5}, {"base": 5}], ids=repr
)
def test_names_are_names(given):
    with pytest.raises(InputError, match="expected a name or a directory, got a"):
        load_pretrained(**({"source": "nano"} | given))
