"""Minimum-Bayes-risk choices against the definition."""

import itertools

import numpy as np
import pytest

from t5x_lite.decoding import mbr


def overlap(candidate: str, reference: str) -> float:
    a, b = set(candidate.split()), set(reference.split())
    return 2 * len(a & b) / max(len(a) + len(b), 1)


CANDIDATES = ["the cat sat", "a dog ran", "the cat ran", "the cat sat", "", "the cat"]


def test_expected_utility_is_the_mean_over_all_candidates():
    expected = [np.mean([overlap(c, r) for r in CANDIDATES]) for c in CANDIDATES]
    for symmetric in (False, True):
        np.testing.assert_allclose(
            mbr.expected_utilities(CANDIDATES, overlap, symmetric=symmetric), expected
        )
    assert mbr.choose(CANDIDATES, overlap) == int(np.argmax(expected)) == 0


def test_an_asymmetric_utility_sees_candidate_and_reference_in_their_places():
    def recall(candidate: str, reference: str) -> float:
        words = reference.split()
        return sum(word in candidate.split() for word in words) / max(len(words), 1)

    expected = [np.mean([recall(c, r) for r in CANDIDATES]) for c in CANDIDATES]
    np.testing.assert_allclose(mbr.expected_utilities(CANDIDATES, recall), expected)


def test_repeated_texts_are_scored_once():
    calls = []

    def utility(candidate: str, reference: str) -> float:
        calls.append((candidate, reference))
        return overlap(candidate, reference)

    mbr.expected_utilities(CANDIDATES, utility)
    assert sorted(calls) == sorted(itertools.product(set(CANDIDATES), repeat=2))
    calls.clear()
    mbr.expected_utilities(CANDIDATES, utility, symmetric=True)
    assert len(calls) == 5 * 6 // 2


def test_no_candidates():
    with pytest.raises(ValueError, match="at least one"):
        mbr.choose([], overlap)
