"""BERTScore against a slow one by torch and transformers, text by text, as bert_score computes it."""

import numpy as np
import pytest
import torch
import transformers

from t5x_lite import load_encoder
from t5x_lite.evaluation.bertscore import bert_scores
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from tests.embedding.conftest import TEXTS, torch_states
from tests.embedding.conftest import bert as bert

PREDICTIONS = [TEXTS[0], TEXTS[1], "a room in Lisbon", "", "two nights with a view", TEXTS[2]]
REFERENCES = [TEXTS[0], "two umbrellas", TEXTS[2], TEXTS[0], "breakfast included", ""]


def expected(folder, longest: int) -> np.ndarray:
    """Precision, recall, F1: the special tokens at the ends may be matched, and do not count."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for pair in zip(PREDICTIONS, REFERENCES, strict=True):
        ids = [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in pair]
        ours, theirs = (
            torch.nn.functional.normalize(torch.tensor(torch_states(model, each)), dim=1)
            for each in ids
        )
        if min(map(len, ids)) == 2:
            rows.append([0.0, 0.0, 0.0])
            continue
        cosines = [[float(a @ b) for b in theirs] for a in ours]
        precision = np.mean([max(row) for row in cosines[1:-1]])
        recall = np.mean([max(row[j] for row in cosines) for j in range(1, len(theirs) - 1)])
        rows.append([precision, recall, 2 * precision * recall / (precision + recall)])
    return np.array(rows)


def test_scores_are_those_of_torch_on_any_mesh(bert):
    encoder = load_encoder(bert)
    wanted = expected(bert, encoder.max_length)
    with on_mesh(make_mesh({"slice": 1, "data": -1, "fsdp": 1, "model": 1})):
        found = bert_scores(encoder, PREDICTIONS, REFERENCES)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found[0], 1, atol=1e-6)  # of a text and itself
    assert found[1:3].min() > 0 and np.ptp(found[1:3]) > 0.01 and not found[3].any()
    swapped = bert_scores(encoder, REFERENCES, PREDICTIONS)
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], found, atol=1e-5)


@pytest.mark.slow  # MiniLM over a few texts
def test_the_real_minilm_scores_as_torch_and_finds_a_paraphrase(minilm):
    encoder = load_encoder(minilm)
    np.testing.assert_allclose(
        bert_scores(encoder, PREDICTIONS, REFERENCES), expected(minilm, 256), atol=1e-4
    )
    scores = bert_scores(
        encoder,
        ["The meeting is moved to Friday.", "A cat sleeps on the roof."],
        ["They postpone the meeting until Friday."] * 2,
    )
    assert scores[0, 2] > scores[1, 2] + 0.2
