"""Batches with arrays of their targets: each token has its own, whatever row it is in."""

import numpy as np

from t5x_lite.data.annotated import AnnotatedPlan
from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan


def test_each_target_token_has_its_own():
    targets = [[5, 1], [6, 7, 8, 1], [9, 1], [4, 3, 1], [2, 1]]
    examples = Examples(Ragged.from_lists([[3, 1]] * 5), Ragged.from_lists(targets))
    plan = Plan(
        examples, (Shape(4, 2, 2), Shape(4, 4, 2)), seed=0, pack=False, pad_id=0, decoder_start_id=0
    )
    flat = np.concatenate(targets)
    arrays = {"twice": np.stack([2 * flat, -flat], axis=-1).astype(np.float32)}
    annotated = AnnotatedPlan(plan, arrays)
    assert tuple(annotated.shapes) == plan.shapes
    for step in range(2 * plan.steps_per_epoch):
        batch, plain = annotated.batch(step), plan.batch(step)
        assert batch["twice"].dtype == np.float32
        # Pads are 0, and so are twice and minus them.
        np.testing.assert_array_equal(batch["twice"][..., 0], 2 * plain["decoder_target_tokens"])
        np.testing.assert_array_equal(batch["twice"][..., 1], -plain["decoder_target_tokens"])
        for name, array in plain.items():
            np.testing.assert_array_equal(batch[name], array)
        own = annotated.batch(step, lambda count: np.array([count - 1]))
        np.testing.assert_array_equal(own["twice"], batch["twice"][-1:])
        assert annotated.names(step) == plan.names(step)
