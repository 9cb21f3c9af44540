import itertools

import numpy as np
import pytest

from t5x_lite.data.buckets import Shape, assign, choose_lengths, make_shapes
from t5x_lite.errors import InputError


def lengths_of(seed, examples=300, longest=200):
    rng = np.random.default_rng(seed)
    encoder = np.clip(rng.gamma(3, longest / 9, examples).astype(int) + 1, 1, longest)
    decoder = np.clip(encoder // 4 + rng.integers(-3, 20, examples), 1, 60)
    return encoder, decoder


def padded(lengths, encoder, decoder):
    return np.array([sum(pair) for pair in lengths])[assign(lengths, encoder, decoder)].sum()


@pytest.mark.parametrize("seed", range(4))
def test_encoder_edges_are_optimal(seed):
    encoder, _ = lengths_of(seed)
    ones = np.ones_like(encoder)
    for count in (1, 2, 3):
        chosen = choose_lengths(encoder, ones, count, 16)
        edges = range(16, 209, 16)
        best = min(
            padded([(edge, 16) for edge in edges_], encoder, ones)
            for edges_ in itertools.combinations(edges, count)
            if edges_[-1] >= encoder.max()
        )
        assert padded(chosen, encoder, ones) == best
        assert len(chosen) == count


@pytest.mark.parametrize("seed", range(4))
def test_more_buckets_pad_less_and_all_fit(seed):
    encoder, decoder = lengths_of(seed)
    costs = []
    for count in range(1, 7):
        lengths = choose_lengths(encoder, decoder, count, 8)
        assert len(lengths) == count
        assert all(e % 8 == 0 and d % 8 == 0 for e, d in lengths)
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in itertools.pairwise(lengths))
        assert (assign(lengths, encoder, decoder) < count).all()
        costs.append(padded(lengths, encoder, decoder))
    assert costs == sorted(costs, reverse=True)
    assert costs[5] < 0.7 * costs[0]


def test_one_long_target_does_not_widen_the_short_bucket():
    encoder = np.array([10] * 100 + [100] * 100)
    decoder = np.array([60] + [8] * 99 + [60] * 100)
    assert choose_lengths(encoder, decoder, 2, 8) == [(16, 8), (104, 64)]


def test_fewer_lengths_than_buckets():
    assert choose_lengths(np.array([3, 4, 12]), np.array([2, 2, 2]), 5, 8) == [(8, 8), (16, 8)]


def test_an_example_goes_to_the_first_bucket_that_holds_both_sides():
    lengths = [(8, 4), (16, 8)]
    encoder, decoder = np.array([8, 8, 9, 16, 17, 1]), np.array([4, 5, 1, 8, 1, 9])
    assert assign(lengths, encoder, decoder).tolist() == [0, 1, 1, 1, 2, 2]


def test_rows_by_size_and_by_tokens():
    lengths = [(100, 10), (300, 10), (512, 64)]
    by_size = make_shapes(lengths, size=8, tokens=0, row_multiple=4)
    assert by_size == (Shape(100, 10, 8), Shape(300, 10, 8), Shape(512, 64, 8))
    by_tokens = make_shapes(lengths, size=0, tokens=4096, row_multiple=4)
    assert [shape.rows for shape in by_tokens] == [40, 12, 8]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(size=8, tokens=4096), "set one of size and tokens"),
        (dict(size=0, tokens=0), "set one of size and tokens"),
        (dict(size=6, tokens=0), "batch.size: 6 rows are not a multiple of 4"),
        (dict(size=0, tokens=1000), "hold no 4 rows of 300 tokens; set at least 1200"),
    ],
)
def test_bad_sizes(settings, message):
    with pytest.raises(InputError, match=message):
        make_shapes([(100, 10), (300, 10)], row_multiple=4, **settings)


@pytest.mark.parametrize("lengths", [[(100, 10), (100, 20)], [(100, 20), (200, 10)]])
def test_buckets_must_grow(lengths):
    with pytest.raises(InputError, match="batch.buckets: .* must grow"):
        make_shapes(lengths, size=8, tokens=0, row_multiple=1)
