"""Log-likelihoods of choices are torch T5's, whatever stands beside them in a batch; the encoder runs once a row."""

import jax
import numpy as np
import pytest
import torch

from t5x_lite.evaluation.choice_scores import ChoiceScorer
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import put_batch, row_multiple
from tests.decoding.conftest import tied_pair as tied_pair

RNG = np.random.default_rng(0)
INPUTS = [[*RNG.integers(2, 96, n).tolist(), 1] for n in (3, 70, 9)]
CHOICES = [
    [[*RNG.integers(2, 96, n).tolist(), 1] for n in lengths]
    for lengths in ((1, 4, 2), (3, 0, 7, 5), (1, 1, 2))
]


def expected(pair, inputs, choice):
    """Of one choice alone: the sum of its log-probabilities, and whether each token is the likeliest."""
    with torch.no_grad():
        logits = pair.torch_model(
            input_ids=torch.tensor([inputs]), labels=torch.tensor([choice])
        ).logits[0]
    logprobs = torch.log_softmax(logits, -1)
    sums = sum(float(row[token]) for row, token in zip(logprobs, choice, strict=True))
    return sums, logits.argmax(-1).tolist() == choice


@pytest.mark.parametrize("mesh", [pytest.param(False, marks=pytest.mark.slow), True])
def test_scores_are_those_of_torch(tied_pair, mesh, monkeypatch):
    model = T5(tied_pair.config, Execution())
    encoded = []
    encode = T5.encode
    monkeypatch.setattr(
        T5,
        "encode",
        lambda self, tokens, *rest: (encoded.append(len(tokens)), encode(self, tokens, *rest))[1],
    )
    # What greedy decoding begins with is a choice, too.
    greedy = tied_pair.torch_generate(np.array([INPUTS[0]]), max_new_tokens=3, do_sample=False)
    choices = [[*CHOICES[0], greedy.sequences[0, 1:4].tolist()], *CHOICES[1:]]
    if mesh:
        whole = make_mesh({"slice": 1, "data": -1, "fsdp": 1, "model": 1})
        with on_mesh(whole):
            scorer = ChoiceScorer(model, lambda b: put_batch(b, whole), row_multiple(whole))
            found = scorer.score(tied_pair.params, None, INPUTS, choices, batch_tokens=1)
        assert set(encoded) == {8}
    else:
        scorer = ChoiceScorer(model)
        found = scorer.score(tied_pair.params, None, INPUTS, choices, batch_tokens=256)
    assert len(encoded) == scorer.compilations  # one encoder in each program, not one a choice
    for inputs, own, scores in zip(INPUTS, choices, found, strict=True):
        wanted = [expected(tied_pair, inputs, choice) for choice in own]
        np.testing.assert_allclose(scores.logprobs, [each[0] for each in wanted], atol=2e-4)
        assert scores.greedy.tolist() == [each[1] for each in wanted]
        assert scores.tokens.tolist() == [len(choice) for choice in own]
    assert found[0].greedy[-1] and not found[0].greedy[:-1].any()
    assert scorer.score(tied_pair.params, None, [], [], batch_tokens=256) == []


def test_nothing_compiles_again_for_rows_of_the_same_shapes(tied_pair):
    scorer = ChoiceScorer(T5(tied_pair.config, Execution()))
    for rows in ([0, 2], [2, 0]):
        scorer.score(
            tied_pair.params, None, [INPUTS[r] for r in rows], [CHOICES[1]] * 2, batch_tokens=256
        )
    assert scorer.compilations == 1
    assert jax.device_count() == 8
