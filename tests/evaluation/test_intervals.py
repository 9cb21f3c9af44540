"""Bootstrap intervals: deterministic, of the right width, covering, and clustered."""

import dataclasses

import numpy as np
import pytest

from t5x_lite.data.groups import Drawn
from t5x_lite.errors import InputError
from t5x_lite.evaluation.comparison import score_outputs
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.evaluation.preferences import (
    accuracy_by_kind,
    preference_calibration,
    preference_scores,
)
from t5x_lite.reports.scores import scores_blocks

BOOTSTRAP = Bootstrap(resamples=1500, confidence=0.95, seed=7)


def test_same_inputs_same_interval_and_seeds_matter():
    values = np.random.default_rng(0).random(200)
    first = bootstrap_mean(values, BOOTSTRAP)
    np.random.random(10)  # ambient state has no say
    assert bootstrap_mean(values.copy(), BOOTSTRAP) == first
    assert bootstrap_mean(values, Bootstrap(1500, 0.95, 8)) != first


def test_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(3, 2, 400)
    interval = bootstrap_mean(values, Bootstrap(10_000, 0.95, 0))
    error = values.std() / np.sqrt(400)
    assert interval.mean == values.mean()
    np.testing.assert_allclose(interval.low, values.mean() - 1.96 * error, atol=0.05 * error * 2)
    np.testing.assert_allclose(interval.high, values.mean() + 1.96 * error, atol=0.05 * error * 2)
    wider = bootstrap_mean(values, Bootstrap(10_000, 0.99, 0))
    assert wider.low < interval.low < interval.high < wider.high


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        interval = bootstrap_mean(rng.beta(2, 5, 100), Bootstrap(400, 0.9, trial))
        covered += interval.low <= 2 / 7 <= interval.high
    assert 0.84 <= covered / 300 <= 0.95


def test_clusters_are_drawn_whole():
    rng = np.random.default_rng(3)
    dialogues = rng.normal(size=100)
    values, clusters = np.repeat(dialogues, 3), np.repeat(np.arange(100), 3)
    alone = bootstrap_mean(dialogues, BOOTSTRAP)
    together = bootstrap_mean(values, BOOTSTRAP, clusters)
    # Copying every row three times adds no information: the interval must not shrink by sqrt(3).
    np.testing.assert_allclose([together.low, together.high], [alone.low, alone.high], rtol=1e-12)
    naive = bootstrap_mean(values, BOOTSTRAP)
    assert naive.high - naive.low < 0.7 * (together.high - together.low)
    # Clusters of unequal size keep the mean over rows.
    uneven = bootstrap_mean(np.array([0.0, 0.0, 0.0, 1.0]), BOOTSTRAP, np.array([5, 5, 5, 9]))
    assert uneven.mean == 0.25 and uneven.low == 0.0 and uneven.high == 1.0


def test_pairing_tells_apart_what_single_intervals_do_not():
    rng = np.random.default_rng(4)
    difficulty = rng.normal(0, 1, 300)
    ours, theirs = difficulty + 0.05 + rng.normal(0, 0.1, 300), difficulty + rng.normal(0, 0.1, 300)
    assert bootstrap_mean(ours, BOOTSTRAP).low < bootstrap_mean(theirs, BOOTSTRAP).high
    difference = paired_difference(ours, theirs, BOOTSTRAP)
    assert difference.low > 0
    assert difference.mean == pytest.approx(ours.mean() - theirs.mean())
    swapped = paired_difference(theirs, ours, BOOTSTRAP)
    assert swapped.high < 0
    same = paired_difference(ours, ours, BOOTSTRAP)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_bad_input():
    with pytest.raises(InputError, match="non-empty"):
        bootstrap_mean(np.array([]), BOOTSTRAP)
    with pytest.raises(InputError, match="row 1 .* not finite"):
        bootstrap_mean(np.array([1.0, np.nan]), BOOTSTRAP)
    with pytest.raises(InputError, match="same rows"):
        paired_difference(np.zeros(3), np.zeros(4), BOOTSTRAP)
    with pytest.raises(InputError, match="cluster"):
        bootstrap_mean(np.zeros(3), BOOTSTRAP, np.zeros(2))
    with pytest.raises(InputError, match="confidence"):
        Bootstrap(100, 95, 0)
    with pytest.raises(InputError, match="resamples"):
        Bootstrap(0, 0.95, 0)


def test_preference_scores_draw_the_pairs_of_a_prompt_together():
    """Fifty prompts of eight pairs that are all right or all wrong say as much as fifty pairs."""
    rng = np.random.default_rng(0)
    of_prompt = rng.random(50) < 0.7
    groups = np.repeat(np.arange(50), 8)
    chosen, rejected = of_prompt[groups].astype(float), np.full(400, 0.5)
    bootstrap = Bootstrap(4000, 0.95, 0)
    found = preference_scores(chosen, rejected, bootstrap, groups)
    alone = preference_scores(of_prompt.astype(float), np.full(50, 0.5), bootstrap)
    assert (found["pairs"], found["prompts"]) == (400, 50)
    assert [found[k] for k in ("accuracy", "low", "high")] == [
        alone[k] for k in ("accuracy", "low", "high")
    ]
    naive = preference_scores(chosen, rejected, bootstrap)
    assert naive["high"] - naive["low"] < 0.5 * (found["high"] - found["low"])
    rows = [{"kind": "ab"[g % 2]} for g in groups]
    wide, narrow = (accuracy_by_kind(chosen, rejected, rows, bootstrap, g) for g in (groups, None))
    for one, other in zip(wide, narrow, strict=True):
        assert one["accuracy"] == other["accuracy"] and one["low"] < other["low"]


def test_ties_are_half_right_in_accuracy_and_calibration():
    chosen, rejected = np.array([1.0, 1.0, 1.0, 3.0]), np.array([1.0, 1.0, 1.0, 0.0])
    assert preference_scores(chosen, rejected, BOOTSTRAP)["accuracy"] == (3 * 0.5 + 1) / 4
    tied, sure = preference_calibration(chosen, rejected)
    assert (tied["rows"], tied["predicted"], tied["observed"]) == (3, 0.5, 0.5)
    assert (sure["rows"], sure["observed"]) == (1, 1.0)


def test_rouge_of_groups_of_inputs_is_drawn_by_group():
    """Rows of one conversation under two different inputs: the group says so, the texts do not."""
    texts = [f"a cat {i} sat" if i // 2 % 3 else "no" for i in range(60)]
    references = [f"a cat {i} sat" for i in range(60)]
    arguments = dict(use_stemmer=True, bootstrap=Bootstrap(1000, 0.95, 0))
    result, columns = score_outputs(
        texts, references, references, drawn=Drawn(np.arange(60), np.arange(60) // 2), **arguments
    )
    alone, _ = score_outputs(texts, references, references, **arguments)
    assert result["groups"] == 30 and result["inputs"] == 60 and "groups" not in alone
    expected = bootstrap_mean(columns["rouge1"], arguments["bootstrap"], np.arange(60) // 2)
    assert result["rouge"]["rouge1"] == dataclasses.asdict(expected)
    assert alone["rouge"]["rouge1"]["low"] > result["rouge"]["rouge1"]["low"]
    said = str(scores_blocks("x", result)[1])
    assert "resamples of 30 groups of inputs" in said
    assert "resamples of inputs" in str(scores_blocks("x", alone)[1])


def test_one_draw_proves_nothing():
    """Three outputs for one dialogue, all better than every baseline: an interval of no width, and no claim."""
    texts, inputs = ["a b c d", "a b c d", "a b c d"], ["one", "one", "one"]

    def beaten(inputs):
        return score_outputs(
            texts, texts, inputs, use_stemmer=False, bootstrap=BOOTSTRAP, lead_count=1
        )[0]["beats_baselines"]

    assert not any(beaten(inputs).values())
    assert all(beaten(["one", "two", "three"]).values())
    one = np.array([1.0, 1.0])
    assert "warning" not in preference_scores(one, 0 * one, BOOTSTRAP)
    for groups, scores in ((np.zeros(2), one), (None, one[:1])):
        assert "one draw" in preference_scores(scores, 0 * scores, BOOTSTRAP, groups)["warning"]


def test_answers_to_other_questions_about_a_text_are_no_references():
    texts, inputs = ["in Rome", "in May"], ["Ann was in Rome in May."] * 2
    two = Drawn(np.array([0, 1]), np.array([0, 0]))
    result, _ = score_outputs(
        texts[::-1], texts, inputs, use_stemmer=False, bootstrap=BOOTSTRAP, drawn=two
    )
    assert (result["inputs"], result["groups"]) == (2, 1)
    assert "rouge_multi_reference" not in result
    one = score_outputs(texts[::-1], texts, inputs, use_stemmer=False, bootstrap=BOOTSTRAP)[0]
    assert one["rouge_multi_reference"]["rouge1"]["mean"] == 1.0
