"""Mixing rates against hand-worked cases; every example of every source in its share, in a pure plan."""

from collections import Counter

import numpy as np
import pytest

from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.mixture import Mixture, temperature_rates
from t5x_lite.data.plan import Plan
from t5x_lite.data.span_corruption import SpanCorruption
from t5x_lite.errors import InputError


def examples(first, count, length=3):
    """`count` examples whose tokens are `first`, `first` + 1, ..."""
    sequences = [[first + i] * length for i in range(count)]
    return Examples(Ragged.from_lists(sequences), Ragged.from_lists(sequences))


def test_temperature_one_is_proportional_and_the_limit_cuts():
    sizes = {"a": 300, "b": 100}
    assert temperature_rates(sizes, temperature=1.0, maximum=0) == {"a": 0.75, "b": 0.25}
    assert temperature_rates(sizes, temperature=1.0, maximum=100) == {"a": 0.5, "b": 0.5}


def test_a_high_temperature_mixes_equally():
    rates = temperature_rates({"a": 10_000, "b": 10}, temperature=1e6, maximum=0)
    assert rates["a"] == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": 6, "b": 6}),  # b's two examples three times
        ({"a": 3.0, "b": 1.0}, {"a": 6, "b": 2}),
        ({"a": 1.0, "b": 2.0}, {"a": 6, "b": 12}),
        ({"a": 9.0, "b": 1.0}, {"a": 18, "b": 2}),  # never less than all examples
    ],
)
def test_shares(rates, shown):
    mixture = Mixture({"a": examples(100, 6), "b": examples(200, 2)}, rates)
    assert mixture.shown == shown
    seen = Counter(int(mixture.example(i, 0)[0][0]) for i in range(len(mixture)))
    assert set(seen) == {*range(100, 106), 200, 201}
    for name, first, size in (("a", 100, 6), ("b", 200, 2)):
        counts = [seen[first + i] for i in range(size)]
        assert sum(counts) == shown[name] and max(counts) - min(counts) <= 1
    for i in range(len(mixture)):
        assert mixture.name_of(i) == ("a" if mixture.example(i, 0)[0][0] < 200 else "b")


def test_lengths_are_the_examples():
    mixture = Mixture({"a": examples(10, 3, length=2), "b": examples(20, 4, 7)}, {"a": 1, "b": 3})
    for i in range(len(mixture)):
        inputs, targets = mixture.example(i, 5)
        assert len(inputs) == mixture.encoder_lengths[i]
        assert len(targets) == mixture.decoder_lengths[i]


def test_repeated_denoising_is_drawn_anew():
    texts = Ragged.from_lists([list(range(1000, 1060))])
    noisy = SpanCorruption(
        texts,
        seed=0,
        noise_density=0.3,
        mean_span_length=3.0,
        target="spans",
        sentinel_ids=range(500, 600),
        eos_id=1,
    )
    mixture = Mixture({"noise": noisy, "task": examples(10, 8)}, {"noise": 1.0, "task": 1.0})
    drawn = {
        tuple(mixture.example(i, epoch)[0].tolist())
        for epoch in (0, 1)
        for i in range(len(mixture))
        if mixture.name_of(i) == "noise"
    }
    assert len(drawn) == 16


def test_in_the_plan_an_epoch_shows_each_share():
    mixture = Mixture({"a": examples(100, 6), "b": examples(200, 2)}, {"a": 1.0, "b": 1.0})
    shapes = make_shapes([(8, 8)], size=3, tokens=0, row_multiple=1)
    plan = Plan(mixture, shapes, seed=1, pack=False, pad_id=0, decoder_start_id=0)
    batches = [plan.batch(step) for step in range(plan.steps_per_epoch)]
    first = np.concatenate([batch["encoder_input_tokens"][:, 0] for batch in batches])
    assert Counter((first[first > 0] >= 200).tolist()) == {True: 6, False: 6}


@pytest.mark.parametrize(
    ("sources", "rates", "message"),
    [
        ({}, {}, "at least one task"),
        ({"a": examples(1, 0)}, {"a": 1.0}, "data.tasks.a: there are no examples"),
        ({"a": examples(1, 2)}, {"a": 0.0}, "data.tasks.a: its rate must be above 0, got 0.0"),
        ({"a": examples(1, 2)}, {}, "data.tasks.a: its rate must be above 0, got None"),
        ({"a": examples(1, 2)}, {"a": 1.0, "b": 1.0}, "rates of b"),
    ],
    ids=str,
)
def test_bad_input(sources, rates, message):
    with pytest.raises(InputError, match=message):
        Mixture(sources, rates)
