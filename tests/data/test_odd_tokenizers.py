"""Models of pieces by other names and of other kinds than T5's."""

import pytest

from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from tests.data.test_tokenizer_directories import train


@pytest.mark.parametrize(
    "name", ["tokenizer.model", "sentencepiece.model", "sentencepiece.bpe.model"]
)
def test_a_model_of_pieces_by_its_other_names(name, tmp_path):
    pieces = train(tmp_path, name)
    vocabulary = load_vocabulary(tmp_path)
    for text in ("hello my cat", "日本 valleys"):
        assert vocabulary.encode([text], add_eos=False) == [pieces.encode(text)]
    with pytest.raises(InputError, match=f"{name} is a file; give the folder that it lies in"):
        load_vocabulary(tmp_path / name)


def test_a_model_that_marks_the_ends_of_words_is_refused(tmp_path):
    """It was read as one that marks their beginnings: other ids, in silence."""
    train(tmp_path, treat_whitespace_as_suffix=True)
    with pytest.raises(InputError, match="marks spaces behind words"):
        load_vocabulary(tmp_path)
