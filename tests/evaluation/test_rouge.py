"""ROUGE equals rouge_score row by row, and evaluate's interface over it."""

import numpy as np
import pytest
from rouge_score import rouge_scorer

from t5x_lite.errors import InputError
from t5x_lite.evaluation import rouge
from t5x_lite.evaluation.rouge_metric import Rouge

PREDICTIONS = [
    "The cats were running quickly. They stopped at the running track.",
    "",
    "#Person1# asks #Person2#'s opinion; it's 3.5 dollars!",
    "No overlap here",
    "the the the cat cat. A dog ran?",
]
REFERENCES = [
    "A cat ran on the track.\nThey were quick to stop.",
    "Nobody said anything.",
    "#Person2# tells #Person1# the opinion. It costs 3.5 dollars.",
    "Zyx wvu",
    "A dog is running. The cat sat with the other cat.",
]


@pytest.mark.parametrize("use_stemmer", [True, False])
def test_rows_equal_rouge_score(use_stemmer):
    oracle = rouge_scorer.RougeScorer(list(rouge.ROUGE_TYPES), use_stemmer=use_stemmer)
    split = [rouge.split_sentences(text) for text in PREDICTIONS]
    for _ in range(2):  # the second time from the cache
        rows = rouge.score_rows(split, REFERENCES, use_stemmer=use_stemmer)
        for i, (prediction, reference) in enumerate(zip(split, REFERENCES, strict=True)):
            expected = oracle.score(reference, prediction)
            for kind in rouge.ROUGE_TYPES:
                assert rows[kind][i] == expected[kind].fmeasure, (kind, i)
    assert rows["rougeLsum"][4] != rows["rougeL"][4]  # the sentences were really split


def test_stemmer_changes_scores():
    stemmed = rouge.score_rows(PREDICTIONS, REFERENCES, use_stemmer=True)["rouge1"]
    plain = rouge.score_rows(PREDICTIONS, REFERENCES, use_stemmer=False)["rouge1"]
    assert stemmed[0] > plain[0]


def test_several_references_take_the_best_for_each_type():
    references = [["a b c d", "d c b a x"], ["one"]]
    predictions = ["d c b", "one two"]
    oracle = rouge_scorer.RougeScorer(list(rouge.ROUGE_TYPES), use_stemmer=True)
    rows = rouge.score_rows(predictions, references, use_stemmer=True)
    for i in range(2):
        expected = oracle.score_multi(references[i], predictions[i])
        assert {kind: rows[kind][i] for kind in rows} == {
            kind: score.fmeasure for kind, score in expected.items()
        }
    # ROUGE-1 prefers the first reference (3 of 4 words), ROUGE-2 the second (both bigrams).
    assert rows["rouge1"][0] == pytest.approx(6 / 7)
    assert rows["rouge2"][0] == pytest.approx(4 / 6)


def test_bad_rows_are_named():
    with pytest.raises(InputError, match="2 predictions and 1 references"):
        rouge.score_rows(["a", "b"], ["a"], use_stemmer=True)
    with pytest.raises(InputError, match="empty"):
        rouge.score_rows([], [], use_stemmer=True)
    with pytest.raises(InputError, match="row 1 .* no reference"):
        rouge.score_rows(["a", "b"], [["a"], []], use_stemmer=True)


def test_metric_has_the_interface_of_evaluate():
    arguments = dict(predictions=PREDICTIONS, references=REFERENCES, use_stemmer=True)
    rows = rouge.score_rows(PREDICTIONS, REFERENCES, use_stemmer=True)
    metric = Rouge()
    means = metric.compute(**arguments)
    assert means == {kind: np.mean(rows[kind]) for kind in rouge.ROUGE_TYPES}
    assert metric.compute(**arguments) == means  # and again, on the same object
    assert metric.compute(**arguments, use_aggregator=False) == {
        k: v.tolist() for k, v in rows.items()
    }
    assert set(metric.compute(**arguments, rouge_types=["rouge2"])) == {"rouge2"}
    nested = [[reference, "something else"] for reference in REFERENCES]
    several = metric.compute(predictions=PREDICTIONS, references=nested, use_stemmer=True)
    expected = rouge.score_rows(PREDICTIONS, nested, use_stemmer=True)
    assert several == {kind: np.mean(column) for kind, column in expected.items()}
    assert metric.info.features and metric.inputs_description
    metric.add_batch(predictions=PREDICTIONS, references=REFERENCES)
    assert metric.compute(use_stemmer=True) == means
