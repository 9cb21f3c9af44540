"""ROUGE of 1,500 rows, as DialogSum's test split has: rouge_score's plain mean, and intervals that stay."""

import json

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from t5x_lite.data.sources import load_rows
from t5x_lite.evaluation.comparison import score_outputs
from t5x_lite.evaluation.intervals import Bootstrap

ROWS, REFERENCES = 1_500, 3
KINDS = ("rouge1", "rouge2", "rougeL")


@pytest.fixture(scope="module")
def split():
    """500 dialogues with three references each, flattened: (outputs, references, inputs)."""
    columns = {name: name for name in ("dialogue", "summary", "brief")}
    rows = load_rows("bundled", "train", columns, id_column="id", exclude="", limit=ROWS)
    outputs, references, inputs = [], [], []
    for first in range(0, ROWS, REFERENCES):
        dialogue = rows[first]
        others = rows[first + 1], rows[first + 2]
        # Its summary, a part of it, and the summary of another dialogue; the output is what a poor model might write.
        for reference in (dialogue["summary"], dialogue["brief"], others[0]["summary"]):
            outputs.append(f"{dialogue['brief']} {others[1]['brief']}")
            references.append(reference)
            inputs.append(dialogue["dialogue"])
    return outputs, references, inputs


def scored(split, seed=0):
    return score_outputs(
        *split, use_stemmer=True, bootstrap=Bootstrap(resamples=1000, confidence=0.95, seed=seed)
    )


@pytest.fixture(scope="module")
def result(split):
    return scored(split)


@pytest.mark.slow
def test_it_is_rouge_scores_with_stemmer_and_plain_mean(split, result):
    outputs, references, inputs = split
    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    flat = np.zeros((ROWS, len(KINDS)))
    best = np.zeros((ROWS, len(KINDS)))
    for row, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        first = row - row % REFERENCES
        several = scorer.score_multi(references[first : first + REFERENCES], output)
        own = scorer.score(reference, output)
        flat[row] = [own[kind].fmeasure for kind in KINDS]
        best[row] = [several[kind].fmeasure for kind in KINDS]
    found, columns = result
    assert (found["rows"], found["inputs"]) == (ROWS, ROWS // REFERENCES)
    for column, kind in enumerate(KINDS):
        np.testing.assert_array_equal(columns[kind], flat[:, column])
        assert found["rouge"][kind]["mean"] == flat[:, column].mean()
        assert found["rouge_multi_reference"][kind]["mean"] == best[:, column].mean()
        assert 0.01 < flat[:, column].mean() < best[:, column].mean() < 0.99


@pytest.mark.slow
def test_the_same_inputs_give_the_same_intervals(split, result):
    found, columns = result
    again, others = scored([list(texts) for texts in split])
    assert json.dumps(again) == json.dumps(found)  # every digit
    assert all(np.array_equal(columns[kind], others[kind]) for kind in columns)
    assert scored(split, seed=1)[0]["rouge"] != found["rouge"]  # there is chance in them
