"""Vectors of sentence encoders against torch's states, pooled by hand; what is refused."""

import json
import shutil

import numpy as np
import pytest
import transformers

import t5x_lite
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from tests.embedding.conftest import TEXTS, torch_states


def normed(vectors: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(vectors)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def expected_of_bert(folder, texts, longest: int, with_first: bool) -> np.ndarray:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    vectors = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        states = torch_states(model, ids)
        parts = [states[0]] * with_first + [states.mean(0)]
        vectors.append(np.concatenate(parts))
    return normed(vectors)


def test_vectors_of_a_bert_are_those_of_torch(bert):
    encoder = t5x_lite.load_encoder(bert)
    assert (encoder.dim, encoder.max_length) == (64, 20)
    vectors = encoder.embed(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (5, 64)
    expected = expected_of_bert(bert, [text.strip() for text in TEXTS], 20, True)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.01  # the texts are told apart


def test_vectors_of_a_sentence_t5_are_those_of_torch(sentence_t5):
    encoder = t5x_lite.load_encoder(sentence_t5)
    model = transformers.T5EncoderModel.from_pretrained(sentence_t5).eval()
    vocabulary = load_vocabulary(sentence_t5)
    weight = _weight(sentence_t5 / "2_Dense")
    vectors = []
    for ids in vocabulary.encode([text.strip() for text in TEXTS], add_eos=True):
        ids = ids if len(ids) <= 24 else [*ids[:23], vocabulary.eos_id]
        vectors.append(weight @ torch_states(model, ids).mean(0))
    assert (encoder.dim, encoder.max_length) == (12, 24)
    np.testing.assert_allclose(encoder.embed(TEXTS), normed(vectors), atol=1e-4)


def test_a_pooling_is_read_in_its_newer_spelling(sentence_t5, tmp_path):
    folder = shutil.copytree(sentence_t5, tmp_path / "copy")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    expected = t5x_lite.load_encoder(sentence_t5).embed(TEXTS[:1])
    np.testing.assert_array_equal(t5x_lite.load_encoder(folder).embed(TEXTS[:1]), expected)


def _weight(folder) -> np.ndarray:
    from t5x_lite.interop.weight_files import open_weights

    return open_weights(folder)["linear.weight"].read()


def test_a_vector_depends_on_its_text_alone_and_few_shapes_compile(bert):
    encoder = t5x_lite.load_encoder(bert)
    many = encoder.embed([f"{text} {TEXTS[0]}" for text in TEXTS] * 9)
    compiled = encoder.compilations
    again = encoder.embed([f"{text} {TEXTS[0]}" for text in TEXTS] * 9)
    assert encoder.compilations == compiled <= 3
    np.testing.assert_array_equal(many, again)
    np.testing.assert_allclose(encoder.embed([f"{TEXTS[1]} {TEXTS[0]}"])[0], many[1], atol=1e-5)
    assert encoder.embed([]).shape == (0, 64)
    with pytest.raises(InputError, match="texts: expected a list"):
        encoder.embed("one")


def test_the_real_minilm_has_the_vectors_that_torch_gives(minilm):
    texts = [*TEXTS[:3], "Naïve café — 東京, 100 % 🙂", "word " * 300, ""]
    encoder = t5x_lite.load_encoder(minilm)
    assert (encoder.dim, encoder.max_length) == (384, 256)
    expected = expected_of_bert(minilm, texts, 256, False)
    np.testing.assert_allclose(encoder.embed(texts), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("modules.json", None, "modules.json: cannot read it .* a sentence encoder has one"),
        ("modules.json", {"a": 1}, "expected a list of modules, found a dict"),
        (
            "modules.json",
            [{"type": "sentence_transformers.models.WordWeights", "path": ""}],
            "the module type 'sentence_transformers.models.WordWeights' is not read; .* Dense",
        ),
        ("modules.json", [{"type": "mine.Pooling", "path": ""}], "'mine.Pooling' is not read"),
        (
            "modules.json",
            [{"type": "sentence_transformers.models.Pooling", "path": "../x"}],
            "the modules are Pooling; expected Transformer, Pooling, then",
        ),
        ("modules.json", [{"type": 3}], "a module is .* expected one with a type and a path"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_lasttoken": True},
            "the pooling 'lasttoken' is not read; those that are: cls_token",
        ),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "the pooling 'none' is not"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "last"]}, "the pooling 'last' is not"),
        ("sentence_bert_config.json", {"max_seq_length": "9"}, "max_seq_length is '9'"),
        (
            "2_Dense/config.json",
            {
                "in_features": 32,
                "out_features": 12,
                "bias": False,
                "activation_function": "x.Swish",
            },
            "activation_function is 'x.Swish'; those that are read: Identity",
        ),
        (
            "2_Dense/config.json",
            {"in_features": 32, "out_features": 13, "bias": False, "activation_function": "x.Tanh"},
            r"linear.weight is \(12, 32\); its config.json says \(13, 32\)",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(sentence_t5, tmp_path, file, change, message):
    folder = shutil.copytree(sentence_t5, tmp_path / "copy")
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps(change))
    with pytest.raises(InputError, match=message) as error:
        t5x_lite.load_encoder(folder)
    assert "\n" not in str(error.value)
