import collections
import dataclasses
import itertools

import numpy as np
import pytest

from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.data.sections import CorruptionSettings
from t5x_lite.data.span_corruption import (
    SpanCorruption,
    corrupt,
    make_span_corruption,
    noise_counts,
    random_spans_noise_mask,
)
from t5x_lite.errors import InputError

SENTINELS = list(range(999, 899, -1))


def slow_corrupt(tokens, mask, sentinels):
    """Token by token, from the definition in the paper's figure 2."""
    inputs, targets = [], []
    inside = {"inputs": False, "targets": False}
    used = {"inputs": 0, "targets": 0}
    for token, noise in zip(tokens, mask, strict=True):
        for side, out, hidden in (("inputs", inputs, noise), ("targets", targets, not noise)):
            if not hidden:
                out.append(token)
                inside[side] = False
            elif not inside[side]:
                out.append(sentinels[used[side]])
                used[side] += 1
                inside[side] = True
    return inputs, targets


def spans_of(mask):
    return [(value, len(list(group))) for value, group in itertools.groupby(mask.tolist())]


def test_the_papers_example():
    words = "Thank you for inviting me to your party last week".split()
    ids = {word: 10 + i for i, word in enumerate(words)}
    mask = np.isin(words, ["for", "inviting", "last"])
    inputs, targets = corrupt(np.array(list(ids.values())), mask, SENTINELS)
    names = {v: k for k, v in ids.items()} | {999: "<X>", 998: "<Y>"}
    assert " ".join(names[i] for i in inputs) == "Thank you <X> me to your party <Y> week"
    # Kept spans come first, so the first sentinel of the targets stands for the first kept span; T5 writes no
    # closing sentinel, but here the text ends with a kept span.
    assert " ".join(names.get(i, "<Z>") for i in targets) == "<X> for inviting <Y> last <Z>"


@pytest.mark.parametrize("density", [0.15, 0.5, 0.9])
@pytest.mark.parametrize("mean", [1.0, 3.0, 8.0])
def test_masks_and_corruption_against_the_slow_loop(density, mean):
    rng = np.random.default_rng(3)
    for length in [2, 3, 4, 5, 7, 10, 33, 100, 200]:
        noise, spans = noise_counts(length, density, mean)
        assert noise == min(max(round(length * density), 1), length - 1)
        assert 1 <= spans <= min(noise, length - noise)
        for _ in range(10):
            mask = random_spans_noise_mask(length, rng, density, mean)
            assert mask.shape == (length,) and mask.sum() == noise
            groups = spans_of(mask)
            assert [value for value, _ in groups] == [False, True] * spans
            tokens = rng.integers(3, 800, length)
            inputs, targets = corrupt(tokens, mask, SENTINELS)
            assert (inputs.dtype, targets.dtype) == (np.int32, np.int32)
            expected = slow_corrupt(tokens.tolist(), mask.tolist(), SENTINELS)
            assert (inputs.tolist(), targets.tolist()) == expected


def test_any_mask_against_the_slow_loop():
    tokens = np.arange(10, 16)
    for bits in itertools.product([False, True], repeat=6):
        inputs, targets = corrupt(tokens, np.array(bits), SENTINELS)
        assert (inputs.tolist(), targets.tolist()) == slow_corrupt(tokens.tolist(), bits, SENTINELS)


def test_t5s_density_and_span_length():
    rng = np.random.default_rng(0)
    masks = [random_spans_noise_mask(512, rng, 0.15, 3.0) for _ in range(50)]
    assert np.mean(masks) == pytest.approx(0.15, abs=0.002)
    lengths = [n for mask in masks for value, n in spans_of(mask) if value]
    assert np.mean(lengths) == pytest.approx(3.0, abs=0.1)


def test_every_split_is_equally_likely():
    rng = np.random.default_rng(1)
    # 8 tokens, 4 noise in 2 spans: 3 ways to split the kept ones x 3 to split the noise.
    draws = 9000
    counts = collections.Counter(
        tuple(random_spans_noise_mask(8, rng, 0.5, 2.0).tolist()) for _ in range(draws)
    )
    assert len(counts) == 9
    chi_square = sum((n - draws / 9) ** 2 / (draws / 9) for n in counts.values())
    assert chi_square < 26.1  # the 0.999 quantile with 8 degrees of freedom


def texts_of(rows):
    return [row["dialogue"] for row in rows]


@pytest.fixture(scope="module")
def source(rows, vocabulary):
    noise = CorruptionSettings(0.15, 3.0, "spans")
    return make_span_corruption(
        texts_of(rows), vocabulary, noise, encoder_length=40, seed=5, name="pretrain"
    )


def test_long_texts_are_split_without_losing_a_token(source, rows, vocabulary):
    texts = vocabulary.encode([row["dialogue"] for row in rows], add_eos=False)
    assert len(source) > len(texts)
    assert source.texts.flat.tolist() == [token for ids in texts for token in ids]
    assert 30 < source.encoder_lengths.max() <= 40
    assert source.texts.lengths.min() >= 15  # pieces of about equal length, no crumbs


def test_lengths_are_known_ahead_and_content_is_the_text(source, vocabulary):
    for index in range(len(source)):
        inputs, targets = source.example(index, epoch=index % 3)
        assert (len(inputs), len(targets)) == (
            source.encoder_lengths[index],
            source.decoder_lengths[index],
        )
        assert inputs[-1] == targets[-1] == vocabulary.eos_id
        # Put the targets' spans back in place of the sentinels: the text again.
        sentinels = vocabulary.sentinel_ids
        spans, current = {}, None
        for token in targets[:-1].tolist():
            if token in sentinels:
                current = spans.setdefault(token, [])
            else:
                current.append(token)
        restored = [t for token in inputs[:-1].tolist() for t in spans.get(token, [token])]
        assert restored == source.texts[index].tolist()
        assert list(spans) == sentinels[: len(spans)]


def test_the_whole_text_as_target(source, rows, vocabulary):
    noise = CorruptionSettings(0.15, 3.0, "text")
    whole = make_span_corruption(
        texts_of(rows), vocabulary, noise, encoder_length=40, seed=5, name="pretrain"
    )
    for index in range(len(whole)):
        inputs, targets = whole.example(index, epoch=1)
        assert inputs.tolist() == source.example(index, epoch=1)[0].tolist()
        assert targets.tolist() == [*whole.texts[index].tolist(), vocabulary.eos_id]
        assert len(targets) == whole.decoder_lengths[index]


def test_masks_change_with_epoch_index_and_seed_and_repeat_exactly(source):
    def mask(of, epoch, index):
        return of.example(index, epoch)[0].tolist()

    longest = int(np.argmax(source.encoder_lengths))
    assert mask(source, 0, longest) == mask(source, 0, longest)
    assert len({tuple(mask(source, epoch, longest)) for epoch in range(5)}) > 2
    same_text = Ragged.from_lists([list(range(50, 150))] * 2)
    settings = dict(
        noise_density=0.15,
        mean_span_length=3.0,
        target="spans",
        sentinel_ids=SENTINELS,
        eos_id=1,
    )
    a, b = (SpanCorruption(same_text, seed=seed, **settings) for seed in (1, 2))
    assert mask(a, 0, 0) != mask(a, 0, 1)
    assert mask(a, 0, 0) != mask(b, 0, 0)


@pytest.mark.parametrize("pack", [False, True])
def test_in_the_batch_plan(source, pack):
    shapes = make_shapes([(80, 40)], size=4, tokens=0, row_multiple=2)
    plans = [
        Plan(source, shapes, seed=1, pack=pack, pad_id=0, decoder_start_id=0) for _ in range(2)
    ]
    n = plans[0].steps_per_epoch
    for step in (0, n - 1, n, 3 * n + 1):
        first, second = (plan.batch(step) for plan in plans)
        assert all(np.array_equal(first[key], second[key]) for key in first)
    total = sum(float(plans[0].batch(step)["decoder_loss_weights"].sum()) for step in range(n))
    assert total == source.decoder_lengths.sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(noise_density=0.0), "noise_density must lie between 0 and 1"),
        (dict(noise_density=1.0), "noise_density must be .* < 1"),
        (dict(mean_span_length=0.5), "mean_span_length must be .* >= 1"),
        (dict(target="all"), "target must be one of .*, got 'all'"),
        (dict(encoder_length=2), "data.encoder_length: 2 is too short"),
        (dict(mean_span_length=1.0, noise_density=0.5, encoder_length=400), "needs .* sentinels"),
    ],
    ids=str,
)
def test_bad_settings(changes, message, rows, vocabulary):
    noise, settings = (
        CorruptionSettings(0.15, 3.0, "spans"),
        dict(encoder_length=40, seed=0, name="pretrain"),
    )
    lengths = {name: value for name, value in changes.items() if name in settings}
    noises = {name: value for name, value in changes.items() if name not in settings}
    with pytest.raises(InputError, match=message):
        make_span_corruption(
            texts_of(rows), vocabulary, dataclasses.replace(noise, **noises), **settings | lengths
        )
    with pytest.raises(InputError, match="no text of at least 2 tokens"):
        make_span_corruption([""], vocabulary, noise, **settings)
