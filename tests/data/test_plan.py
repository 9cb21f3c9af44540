import collections

import numpy as np
import pytest

from t5x_lite.data.buckets import Shape, make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan, distinct_inputs
from t5x_lite.errors import InputError

SHAPES = (Shape(8, 4, 8), Shape(16, 4, 4), Shape(32, 12, 4))


def source_of(examples=203, seed=0, longest=32):
    """Examples whose first token is their number, so that a batch tells which ones are in it."""
    rng = np.random.default_rng(seed)
    inputs = [[1000 + i, *[2] * rng.integers(0, longest - 2), 1] for i in range(examples)]
    targets = [[1000 + i, *[3] * rng.integers(0, 10), 1] for i in range(examples)]
    return Examples(Ragged.from_lists(inputs), Ragged.from_lists(targets))


SOURCE = source_of()


def plan_of(source=SOURCE, shapes=SHAPES, seed=7, pack=False):
    return Plan(source, shapes, seed=seed, pack=pack, pad_id=0, decoder_start_id=0)


def packed_plan(seed=7):
    return plan_of(shapes=(Shape(64, 24, 8),), seed=seed, pack=True)


def numbers(batch, key="encoder_input_tokens"):
    tokens = batch[key]
    return (tokens[tokens >= 1000] - 1000).tolist()


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


PLANS = pytest.mark.parametrize("make", [plan_of, packed_plan])


@PLANS
@pytest.mark.parametrize("seed", [7, None])
def test_every_example_exactly_once_an_epoch(make, seed):
    plan = make(seed=seed)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        batches = [plan.batch(step) for step in steps]
        for key in ("encoder_input_tokens", "decoder_target_tokens"):
            seen = [number for batch in batches for number in numbers(batch, key)]
            assert sorted(seen) == list(range(203))
        weights = sum(float(batch["decoder_loss_weights"].sum()) for batch in batches)
        assert weights == SOURCE.decoder_lengths.sum()


@PLANS
def test_inputs_and_targets_of_a_row_belong_together(make):
    plan = make()
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        inputs, targets = batch["encoder_input_tokens"], batch["decoder_target_tokens"]
        for row in range(len(inputs)):
            heads = [tokens[row][tokens[row] >= 1000].tolist() for tokens in (inputs, targets)]
            assert heads[0] == heads[1]


@PLANS
def test_the_batch_is_a_pure_function_of_seed_and_step(make):
    plan = make()
    steps = list(range(2 * plan.steps_per_epoch))
    in_order = [plan.batch(step) for step in steps]
    fresh = make()  # random access, backwards, in another object
    for step in reversed(steps):
        assert equal(fresh.batch(step), in_order[step])


@PLANS
def test_seed_and_epoch_change_the_order(make):
    plan, other = make(), make(seed=8)
    n = plan.steps_per_epoch
    orders = [
        [numbers(p.batch(step)) for step in steps]
        for p, steps in (
            (plan, range(n)),
            (plan, range(n, 2 * n)),
            (other, range(other.steps_per_epoch)),
        )
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]
    # Not only the batches move: other examples meet.
    assert {frozenset(batch) for batch in orders[0]} != {frozenset(batch) for batch in orders[1]}


def test_batches_have_the_planned_shapes_and_no_example_in_a_longer_one_than_needed():
    plan = plan_of()
    shapes = collections.Counter()
    promoted = 0
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        shape = Shape(
            batch["encoder_input_tokens"].shape[1],
            batch["decoder_target_tokens"].shape[1],
            len(batch["encoder_input_tokens"]),
        )
        assert batch["decoder_input_tokens"].shape == batch["decoder_loss_weights"].shape
        shapes[shape] += 1
        indices = plan.indices(step)
        smaller = SHAPES[: SHAPES.index(shape)]
        for index in indices[indices >= 0]:
            fits = [
                s
                for s in smaller
                if SOURCE.encoder_lengths[index] <= s[0] and SOURCE.decoder_lengths[index] <= s[1]
            ]
            promoted += bool(fits)
    assert set(shapes) == set(SHAPES)
    # Only what a bucket had left over moves up: fewer than a batch of each.
    assert promoted <= 7 + (7 + 3)
    empty = sum((plan.indices(step) == -1).sum() for step in range(plan.steps_per_epoch))
    assert empty < SHAPES[-1].rows


def test_left_over_rows_change_between_epochs():
    """An example must not be the one that is always promoted."""
    plan = plan_of(shapes=(Shape(32, 12, 100), Shape(40, 12, 5)))
    n = plan.steps_per_epoch
    promoted = []
    for epoch in range(3):
        batches = [plan.batch(step) for step in range(epoch * n, (epoch + 1) * n)]
        longer = [batch for batch in batches if batch["encoder_input_tokens"].shape[1] == 40]
        promoted.append(frozenset(number for batch in longer for number in numbers(batch)))
    assert all(len(each) == 3 for each in promoted) and len(set(promoted)) == 3


def test_a_row_is_promoted_once_while_its_new_bucket_has_room():
    lengths = (
        [3] * 11 + [12] * 30 + [30] * 9
    )  # 3 short ones are left over, then 1 of the middle ones
    tokens = Ragged.from_lists([[1000 + i] * n for i, n in enumerate(lengths)])
    targets = Ragged.from_lists([[1]] * len(lengths))
    plan = plan_of(Examples(tokens, targets), SHAPES)
    longest = [n for step in range(plan.steps_per_epoch) for n in plan.indices(step)
               if plan.rows(step)[1] == SHAPES[2]]  # fmt: skip
    assert min(number for number in longest if number >= 0) >= 11


def test_buckets_are_mixed_within_an_epoch():
    plan = plan_of()
    shapes = [plan.rows(step)[1] for step in range(plan.steps_per_epoch)]
    assert sum(a != b for a, b in zip(shapes, shapes[1:], strict=False)) > 2 * len(SHAPES)


def test_the_evaluation_plan_keeps_the_order_and_marks_filled_up_rows():
    plan = plan_of(shapes=(Shape(32, 12, 8),), seed=None)
    assert plan.steps_per_epoch == 26
    indices = np.concatenate([plan.indices(step) for step in range(26)])
    assert indices.tolist() == [*range(203), *[-1] * 5]
    last = plan.batch(25)
    assert (last["decoder_loss_weights"][3:] == 0).all() and (
        last["decoder_loss_weights"][2, 0] == 1
    )
    assert (last["encoder_input_tokens"][3:] == 0).all()
    assert numbers(last) == [200, 201, 202]
    bucketed = plan_of(seed=None)
    found = np.concatenate([bucketed.indices(step) for step in range(bucketed.steps_per_epoch)])
    assert sorted(found[found >= 0].tolist()) == list(range(203))


def test_packing_fits_and_fills():
    plan = packed_plan()
    used = np.zeros(2)
    slots = np.zeros(2)
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        for side, key in enumerate(("encoder_segment_ids", "decoder_segment_ids")):
            segments = batch[key]
            used[side] += (segments > 0).sum()
            slots[side] += segments.size
            # Segments are numbered 1, 2, … without a hole, and padding follows.
            for row in segments:
                top = row.max()
                assert (np.diff(row[: (row > 0).sum()]) >= 0).all() and set(row) - {0} == set(
                    range(1, top + 1)
                )
        assert (batch["encoder_segment_ids"].max(1) == batch["decoder_segment_ids"].max(1)).all()
        starts = np.diff(batch["decoder_segment_ids"], axis=1, prepend=0) > 0
        assert (batch["decoder_input_tokens"][starts] == 0).all()
    padding = plan.padding()
    assert np.allclose(1 - used / slots, [padding["encoder"], padding["decoder"]])
    full = source_of(2000, seed=1)
    dense = plan_of(full, (Shape(64, 64, 8),), pack=True).padding()["encoder"]
    alone = plan_of(full, (Shape(32, 12, 8),)).padding()["encoder"]
    assert dense < 0.05 < 0.4 < alone


def test_padding_counts_the_pads_of_an_epoch():
    plan = plan_of()
    batches = [plan.batch(step) for step in range(plan.steps_per_epoch)]
    for side, key in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_target_tokens")):
        pads = sum((batch[key] == 0).sum() for batch in batches)
        assert plan.padding()[side] == pytest.approx(pads / sum(b[key].size for b in batches))


class Changing:
    """Examples made on the fly: the same lengths, other tokens in each epoch."""

    encoder_lengths = SOURCE.encoder_lengths
    decoder_lengths = SOURCE.decoder_lengths

    def example(self, index, epoch):
        inputs, targets = SOURCE.example(index, epoch)
        return inputs + 1000 * epoch * (inputs >= 1000), targets


def test_a_source_may_depend_on_the_epoch():
    plan = plan_of(Changing())
    tokens = plan.batch(2 * plan.steps_per_epoch + 1)["encoder_input_tokens"]
    assert (tokens[:, 0][tokens[:, 0] > 0] >= 3000).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(source=source_of(0)), "there are no examples"),
        (
            dict(shapes=SHAPES[:2]),
            r"batch.buckets: example \d+ has \d+ / \d+ tokens, over the longest",
        ),
        (dict(pack=True), "batch.pack: packed batches have one shape; there are 3 buckets"),
    ],
    ids=str,
)
def test_bad_plans(changes, message):
    with pytest.raises(InputError, match=message):
        plan_of(**changes)


def test_indices_of_packed_rows_are_refused():
    with pytest.raises(ValueError, match="packed rows hold several examples"):
        packed_plan().indices(0)


def test_real_dialogues_pad_little(shared_data, tmp_path):
    """Six buckets waste less than a third of what one shape does (DialogSum, T5's vocabulary)."""
    from t5x_lite.data.buckets import choose_lengths
    from t5x_lite.data.features import make_examples
    from t5x_lite.data.sources import load_rows
    from t5x_lite.data.vocabulary import load_vocabulary

    columns = {"dialogue": "dialogue", "summary": "summary"}
    path = str(shared_data / "dialogsum" / "dialogsum.train.jsonl")
    rows = load_rows(path, "", columns, id_column="fname", exclude="", limit=3000)
    examples = make_examples(
        rows,
        load_vocabulary(shared_data / "t5_vocab"),
        template="finetune",
        target="{summary}",
        encoder_length=512,
        decoder_length=128,
        truncation="oldest_turns",
        cut_field="dialogue",
        name="train",
    )
    fractions = []
    for count in (1, 6):
        lengths = choose_lengths(examples.encoder_lengths, examples.decoder_lengths, count, 8)
        shapes = make_shapes(lengths, size=0, tokens=8192, row_multiple=2)
        fractions.append(plan_of(examples, shapes).padding()["encoder"])
    assert fractions[0] > 0.5 and fractions[1] < 0.2
    packed = plan_of(
        examples, make_shapes([(512, 128)], size=16, tokens=0, row_multiple=2), pack=True
    )
    assert packed.padding()["encoder"] < 0.08


def test_equal_inputs_become_one_example_each():
    inputs, targets = [[5, 1], [6, 7, 1], [5, 1], [5, 1]], [[2], [3], [4, 4], [5]]
    plan = plan_of(Examples(Ragged.from_lists(inputs), Ragged.from_lists(targets)), seed=None)
    once, groups = distinct_inputs(plan)
    assert [group.tolist() for group in groups] == [[0, 2, 3], [1]]
    assert once.shapes == plan.shapes and once.steps_per_epoch == 1
    batch = once.batch(0)["encoder_input_tokens"][:2, :4]
    assert batch.tolist() == [[5, 1, 0, 0], [6, 7, 1, 0]]
    assert distinct_inputs(plan_of())[0].source is SOURCE
