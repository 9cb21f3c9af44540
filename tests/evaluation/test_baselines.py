"""The opponents: lead turns, shuffled outputs, the best constant; and their known scores on real data."""

import json

import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.evaluation import constants, rouge
from t5x_lite.evaluation.baselines import group_by_input, lead, shuffled

# The constant of the field notes up to its ellipsis, which stands for text that was not kept.
TEMPLATE = "#Person1# asks #Person2# about #Person2#'s and #Person2# tells #Person1# that ..."


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def dialogsum(shared_data):
    return {
        split: read(shared_data / "dialogsum" / f"dialogsum.{split}.jsonl")
        for split in ("train", "dev")
    }


def means(predictions, references):
    rows = rouge.score_rows(
        predictions, references, use_stemmer=True, rouge_types=constants.OBJECTIVES
    )
    return [float(rows[kind].mean()) for kind in constants.OBJECTIVES]


def test_lead():
    assert lead("A: Hi.\n\nB: Yes.\nA: Bye.", 2) == "A: Hi.\nB: Yes."
    assert lead("One. Two! Three? Four.", 3) == "One. Two! Three?"
    assert lead("", 3) == ""


def test_lead_3_on_dialogsum_scores_what_was_measured_before(dialogsum):
    dev = dialogsum["dev"]
    scores = means([lead(row["dialogue"], 3) for row in dev], [row["summary"] for row in dev])
    np.testing.assert_allclose(scores, [0.284, 0.078, 0.215], atol=5e-4)


def test_shuffled_never_returns_a_row_to_its_own_input():
    groups = group_by_input([f"dialogue {i // 3}" for i in range(30)] + ["alone"])
    outputs = [f"{group}" for group in groups]
    for seed in range(50):
        moved = shuffled(outputs, groups, seed)
        assert all(int(text) != group for text, group in zip(moved, groups, strict=True))
        assert set(moved) == set(outputs)
    assert (
        shuffled(outputs, groups, 3) == shuffled(outputs, groups, 3) != shuffled(outputs, groups, 4)
    )
    assert shuffled(["a", "b"], np.array([0, 1]), 0) == ["b", "a"]
    single = np.arange(20)
    assert sorted(shuffled([str(i) for i in single], single, 0)) == sorted(map(str, single))
    with pytest.raises(InputError, match="two different inputs"):
        shuffled(["a", "b"], np.array([0, 0]), 0)


def test_search_finds_the_best_constant_of_a_known_case():
    # Every summary says "a b c d"; then one word that no other has.
    references = [f"a b c d unique{i}" for i in range(20)]
    best = constants.best_constants(references, use_stemmer=False, seed=0)
    assert set(best.values()) == {"a b c d"}
    assert set(best) == set(rouge.ROUGE_TYPES)


def test_search_scores_exactly_as_rouge_does(monkeypatch):
    """The incremental counts of the beam search agree with rouge_score: repeats, bigrams, subsequences, stems."""
    rng = np.random.default_rng(0)
    words = ["cat", "cats", "running", "runs", "dog", "the", "a", "sat", "s"]
    references = [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(30)]
    seen = []
    real = constants._fmeasure

    def record(hits, length, lengths):
        seen.append(real(hits, length, lengths))
        return seen[-1]

    monkeypatch.setattr(constants, "_fmeasure", record)
    monkeypatch.setattr(constants, "_BEAMS", 1)
    for objective in constants.OBJECTIVES:
        seen.clear()
        text = constants._search(references, objective, use_stemmer=True)
        length = len(text.split())
        # With one beam, the kept text's scores are among those of its step.
        for kind, column in zip(
            constants.OBJECTIVES, seen[3 * (length - 1) : 3 * length], strict=True
        ):
            expected = rouge.score_rows(
                [text] * 30, references, use_stemmer=True, rouge_types=[kind]
            )[kind].mean()
            assert np.isclose(column, expected, rtol=1e-12).any(), (objective, kind)


def test_candidates_win_where_they_are_better(monkeypatch):
    monkeypatch.setattr(constants, "_WORDS", 3)  # the search cannot write the rest of the sentence
    references = ["a b c d e f"] * 5
    assert constants.best_constants(references, use_stemmer=True, seed=0)["rougeL"] == "a b c"
    given = constants.best_constants(
        references, use_stemmer=True, seed=0, candidates=references[:1]
    )
    assert set(given.values()) == {"a b c d e f"}
    with pytest.raises(InputError, match="at least one word"):
        constants.best_constants(["...", ""], use_stemmer=True, seed=0)


def test_best_constants_found_on_train_beat_the_template_on_dev(dialogsum):
    train = [row["summary"] for row in dialogsum["train"]]
    dev = [row["summary"] for row in dialogsum["dev"]]
    best = constants.best_constants(train, use_stemmer=True, seed=0, candidates=[TEMPLATE])
    template = means([TEMPLATE] * len(dev), dev)
    np.testing.assert_allclose(template, [0.2541, 0.0495, 0.2118], atol=5e-4)
    scores = [means([best[kind]] * len(dev), dev)[i] for i, kind in enumerate(constants.OBJECTIVES)]
    # The notes' whole sentence scores .298/.056/.233, a bag of words .344: these are harder to beat.
    assert scores[0] > 0.335 and scores[1] > 0.06 and scores[2] > 0.265, scores
