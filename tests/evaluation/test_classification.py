"""Accuracy's neighbours against scikit-learn, toxicity against the classifier it measures with, and the paired test."""

import itertools
import logging

import jax
import numpy as np
import pytest
import tokenizers
import transformers
from sklearn.metrics import roc_auc_score

from t5x_lite import streams
from t5x_lite.data.classifier_text import ClassifierTokenizer
from t5x_lite.errors import InputError
from t5x_lite.evaluation.by_length import by_length
from t5x_lite.evaluation.classification import auc, auc_interval, calibration
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.preferences import preference_calibration, preference_scores
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.evaluation.toxicity import Toxicity, paired_p_value, toxicity_summary
from t5x_lite.models.classifier_init import init_module, token_example
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.tasks.classifier.run import classification_scores


def test_auc_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, labels = rng.integers(0, 6, 40) / 5, rng.random(40) < 0.4
        assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    with pytest.raises(InputError, match="both classes"):
        auc(np.ones(3), np.ones(3, bool))


def test_the_interval_of_auc_is_that_of_drawing_rows_anew():
    """Against scikit-learn on the rows drawn, ties and draws of one class included."""
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 12) / 4, np.arange(12) < 2
    found = auc_interval(scores, positive, Bootstrap(300, 0.9, 7))
    order, draws = np.argsort(scores, kind="stable"), streams.generator(7, "bootstrap")
    areas = []
    for _ in range(300):
        rows = order[draws.integers(12, size=12)]
        if positive[rows].any():
            areas.append(roc_auc_score(positive[rows], scores[rows]))
    assert len(areas) < 300
    assert found.mean == pytest.approx(roc_auc_score(positive, scores))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.05, 0.95])))
    with pytest.raises(InputError, match="both classes"):
        auc_interval(np.ones(3), np.zeros(3, bool), Bootstrap(10, 0.95, 0))


def test_the_interval_of_auc_draws_groups_whole():
    """Each text ten times adds no information; where every row is a group, nothing changes."""
    rng = np.random.default_rng(1)
    positive = np.arange(40) < 20
    scores = positive + rng.normal(size=40)
    bootstrap = Bootstrap(400, 0.9, 0)
    alone = auc_interval(scores, positive, bootstrap)
    rows = rng.permutation(np.repeat(np.arange(40), 10))
    together = auc_interval(scores[rows], positive[rows], bootstrap, rows)
    assert together.mean == pytest.approx(alone.mean)
    width, of_rows = together.high - together.low, alone.high - alone.low
    assert 0.7 * of_rows < width < 1.4 * of_rows
    apart = auc_interval(scores[rows], positive[rows], bootstrap)
    assert apart.high - apart.low < 0.5 * width
    assert auc_interval(scores, positive, bootstrap, rng.permutation(40)) == alone
    texts = ["w " * 30] * 400
    (line,) = by_length(scores[rows], positive[rows], texts, bootstrap, rows)
    assert (line["low"], line["high"]) == (together.low, together.high)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_in_no_score(number):
    """NaN would rank highest in an AUC, stand in no bin, and count as a wrong pair."""
    scores, positive = np.array([0.1, number, 0.3, 0.4]), np.array([0, 1, 1, 0], bool)
    bootstrap = Bootstrap(10, 0.95, 0)
    for call in (
        lambda: auc(scores, positive),
        lambda: auc_interval(scores, positive, bootstrap),
        lambda: calibration(scores, positive),
        lambda: preference_scores(scores, np.zeros(4), bootstrap),
        lambda: preference_scores(np.zeros(4), scores, bootstrap),
        lambda: preference_calibration(scores, np.zeros(4)),
        lambda: classification_scores(
            np.stack([scores, 1 - scores], axis=1), positive.astype(int), ("a", "b"), "b", bootstrap
        ),
    ):
        with pytest.raises(InputError, match="1 of 4 have"):
            call()


def test_area_under_the_curve_by_length_of_text():
    """Short texts are told apart, long ones the wrong way round; those of one class alone have no area."""
    texts = ["a b"] * 2 + ["a " * 3, "a " * 20] * 4 + ["a " * 21, "a " * 50] * 4 + ["a " * 700]
    positive = np.array([1, 1] + [0, 1] * 4 + [0, 1] * 4 + [1], bool)
    scores = np.array([0.3, 0.4] + [0.1, 0.9] * 4 + [0.9, 0.1] * 4 + [0.5])
    table = by_length(scores, positive, texts, Bootstrap(50, 0.95, 0))
    assert [(row["words"], row["rows"], row["positive"], row["auc"]) for row in table] == [
        ("0 to 2", 2, 2, None),
        ("3 to 20", 8, 4, 1.0),
        ("21 to 50", 8, 4, 0.0),
        ("over 500", 1, 1, None),
    ]
    assert (table[1]["low"], table[1]["high"], table[2]["high"]) == (1.0, 1.0, 0.0)


def test_calibration_of_a_perfectly_calibrated_judge():
    rng = np.random.default_rng(0)
    probabilities = rng.random(50_000)
    table = calibration(probabilities, rng.random(50_000) < probabilities)
    assert sum(row["rows"] for row in table) == 50_000
    assert all(abs(row["predicted"] - row["observed"]) < 0.03 for row in table)
    assert calibration(np.array([1.0]), np.array([True]))[0]["low"] == 0.9


def test_paired_p_value():
    rng = np.random.default_rng(0)
    before = rng.random(200)
    assert paired_p_value(before, before + 0.05 + 0.01 * rng.normal(size=200), 0) <= 1e-3
    assert paired_p_value(before, before + 0.02, 3) == paired_p_value(before, before + 0.02, 3)


def test_the_p_value_is_that_of_all_signs():
    """Ten differences have 1,024 signs: the share of them that gives as much, within four errors of the draws."""
    for seed in range(8):
        differences = np.random.default_rng(seed).normal(0.4, 1.0, 10)
        signs = np.array(list(itertools.product((-1, 1), repeat=10)))
        exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
        found = paired_p_value(np.zeros(10), differences, seed)
        assert abs(found - exact) <= 4 * np.sqrt(exact * (1 - exact) / 10_000) + 1e-4, seed


def test_the_p_value_is_of_the_difference_that_stands_beside_it():
    """Nine responses to one prompt rose, those to three others fell: over responses the mean rose."""
    clusters = np.array([0] * 9 + [1, 2, 3])
    after = np.where(clusters == 0, 1.0, -1.0)
    signs = np.array(list(itertools.product((-1, 1), repeat=4)))
    exact = np.mean(np.abs(signs @ [9, -1, -1, -1]) >= 6)
    found = paired_p_value(np.zeros(12), after, 0, clusters)
    assert abs(found - exact) < 0.02
    # Draws of one prompt are no further evidence.
    rng = np.random.default_rng(0)
    before, change = rng.random(30), 0.1 * rng.normal(0.3, 1.0, 30)
    alone = paired_p_value(before, before + change, 0)
    tripled = np.repeat(np.arange(30), 3)
    assert (
        abs(paired_p_value(before[tripled], (before + change)[tripled], 0, tripled) - alone) < 0.02
    )
    assert paired_p_value(before[tripled], (before + change)[tripled], 0) < 0.5 * alone


def test_without_a_difference_a_tenth_of_the_p_values_is_below_a_tenth():
    rng = np.random.default_rng(0)
    found = np.array([paired_p_value(*rng.normal(size=(2, 30)), seed=i) for i in range(400)])
    assert abs(np.mean(found < 0.1) - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 400)
    assert abs(np.mean(found < 0.5) - 0.5) < 4 * np.sqrt(0.5 * 0.5 / 400)


@pytest.fixture(scope="module")
def classifier():
    """A classifier of one word: "rude" is hate, everything else is not."""
    words = ["<pad>", "</s>", "<unk>", "rude", "kind", "word"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = T5Config(
        vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_encoder_layers=1, num_decoder_layers=1,
        num_heads=2, tie_word_embeddings=True, scale_decoder_outputs=True,
    )  # fmt: skip
    module = T5Classifier(config, ("nothate", "hate"), Execution())
    params = init_module(module, jax.random.key(0), token_example())
    embedding = np.zeros((8, 8), np.float32)
    embedding[:, 0] = 1.0
    embedding[3] = [0, 1, 0, 0, 0, 0, 0, 0]
    params["token_embedder"]["embedding"] = embedding
    params["encoder"]["layers_0"]["mlp"]["wo"]["kernel"] *= 0
    params["encoder"]["layers_0"]["attention"]["out"]["kernel"] *= 0
    head = np.zeros((8, 2), np.float32)
    head[0] = [2, 0]
    head[1] = [0, 2]
    params["head"]["kernel"] = head
    return TextClassifier(module, params, ClassifierTokenizer(tokenizer, 16))


def test_toxicity_is_the_probability_of_the_label(classifier):
    texts = ["rude", "kind word", "rude rude", "word", ""]
    scores = classifier.probabilities(texts)[:, 1].astype(float)
    assert scores[0] > 0.5 > scores[1] and np.isfinite(scores).all()
    measurement = Toxicity(classifier, "hate")
    assert measurement.compute(predictions=texts)["toxicity"] == scores.tolist()
    assert measurement.compute(predictions=texts, aggregation="maximum") == {
        "max_toxicity": scores.max()
    }
    assert measurement.compute(predictions=texts, aggregation="ratio") == {"toxicity_ratio": 0.4}
    mean = measurement.compute(predictions=texts, aggregation="mean")
    assert mean == {"mean_toxicity": scores.mean(), "std_toxicity": scores.std()}
    summary = toxicity_summary(scores, Bootstrap(200, 0.95, 0))
    assert summary["mean"] == scores.mean() and summary["low"] <= summary["mean"] <= summary["high"]
    assert (summary["max"], summary["ratio"], summary["texts"]) == (scores.max(), 0.4, 5)
    with pytest.raises(InputError, match="no label 'toxic'; it has nothate, hate"):
        Toxicity(classifier, "toxic")


def test_a_batch_scores_as_its_texts_alone(classifier):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["rude", "kind", "word"], n)) for n in rng.integers(1, 60, 70)]
    alone = np.concatenate([classifier.logits([text]) for text in texts[:12]])
    np.testing.assert_allclose(classifier.logits(texts)[:12], alone, rtol=1e-5)
    assert classifier.logits([]).shape == (0, 2)


def test_mean_states_are_of_a_texts_own_tokens(classifier):
    """In a batch of several lengths as each text alone, without any padding."""
    config = EncoderConfig(
        family="bert", vocab_size=8, d_model=8, d_ff=8, num_layers=1, num_heads=2, max_positions=16,
        labels=("a",), initializer_range=0.5,
    )  # fmt: skip
    module = EncoderClassifier(config)
    params = init_module(module, jax.random.key(0), token_example())
    texts = ["rude", "kind word word rude", "word kind"]
    found = TextClassifier(module, params, classifier.tokenizer).mean_states(texts)
    for text, mean in zip(texts, found, strict=True):
        tokens = np.array(classifier.tokenizer.encode([text]), np.int32)
        states = module.apply({"params": params}, tokens, np.ones_like(tokens), method="encode")
        np.testing.assert_allclose(mean, np.mean(states[0], axis=0), atol=1e-5)
    with pytest.raises(InputError, match="BERT, RoBERTa and DistilBERT alone"):
        classifier.mean_states(texts)


def test_a_text_over_the_longest_length_loses_its_end_and_is_told_of_once(classifier, caplog):
    """The tokenizer takes 16 tokens and adds none; it is a new one, which has told nothing yet."""
    tokenizer = ClassifierTokenizer(classifier.tokenizer.tokenizer, 16)
    classifier = TextClassifier(classifier.module, classifier.params, tokenizer)
    long, kept = "word " * 14 + "rude rude rude", "word " * 14 + "rude rude"
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        scores = classifier.logits([long, kept, "rude"])
        again = classifier.logits([long])
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_allclose(again[0], scores[0], rtol=1e-6)
    assert not np.allclose(scores[0], scores[2])
    (told,) = [record.getMessage() for record in caplog.records if "classifier" in record.message]
    assert "1 of 3 texts have more than 16 tokens and lose their end" in told


def test_an_empty_text_is_special_tokens_alone(classifier):
    """To a RoBERTa's tokenizer a space is a token, here the rude one; nothing is none."""
    names = ["<pad>", "</s>", "<unk>", "\u0120", "a"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    reads = TextClassifier(classifier.module, classifier.params, ClassifierTokenizer(tokenizer, 16))
    nothing, space, plain = reads.probabilities(["", " ", "a"])[:, 1]
    assert nothing < 0.5 and plain < 0.5 and space > nothing + 0.1
