"""Pads that count, as in lab 2's notebook, against torch without masks; and else, with them."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from t5x_lite.data.buckets import Shape
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.pads import CountedPads
from t5x_lite.data.plan import Plan
from t5x_lite.interop.hf import save_hf
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.train.step import loss_sums

PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)
EXAMPLES = Examples(
    Ragged.from_lists([[5, 6, 7, 8, 1], [9, 4, 1], [11, 12, 13, 1]]),
    Ragged.from_lists([[15, 3, 1], [7, 1], [8, 9, 10, 4, 1]]),
)
SHAPE = Shape(6, 8, 4)  # a row more than there are examples


@pytest.fixture
def plan():
    return Plan(EXAMPLES, [SHAPE], seed=0, pack=False, pad_id=0, decoder_start_id=0)


@pytest.mark.parametrize(
    ("in_loss", "in_attention"), list(itertools.product([False, True], repeat=2))
)
def test_the_loss_is_torchs_with_and_without_the_masks(
    plan, config, random_params, tmp_path, in_loss, in_attention
):
    params = random_params(config)
    save_hf(tmp_path, config, params)
    torch.set_num_threads(1)
    model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    rows = plan.indices(0)[:3]
    padded = np.zeros((2, 3, 8), np.int64)
    for row, index in enumerate(rows):
        for side, tokens in enumerate(EXAMPLES.example(index, 0)):
            padded[side, row, : len(tokens)] = tokens
    inputs, labels = torch.tensor(padded[0, :, :6]), torch.tensor(padded[1])
    with torch.no_grad():
        theirs = model(
            input_ids=inputs,
            attention_mask=None if in_attention else (inputs != 0).long(),
            labels=labels if in_loss else labels.masked_fill(labels == 0, -100),
        ).loss.item()

    batch = CountedPads(plan, in_loss=in_loss, in_attention=in_attention).batch(0)
    batch = {key: jnp.asarray(value) for key, value in batch.items()}
    sums = loss_sums(T5(config, Execution()), params, batch, None, PLAIN)
    np.testing.assert_allclose(sums["loss"] / sums["weight"], theirs, rtol=1e-5)
    assert sums["weight"] == (3 * 8 if in_loss else 3 + 2 + 5)


def test_each_mask_left_out_changes_what_is_learnt(plan, config, random_params):
    params, model = random_params(config), T5(config, Execution())
    losses = set()
    for in_loss, in_attention in itertools.product([False, True], repeat=2):
        batch = CountedPads(plan, in_loss=in_loss, in_attention=in_attention).batch(0)
        batch = {key: jnp.asarray(value) for key, value in batch.items()}
        sums = loss_sums(model, params, batch, None, PLAIN)
        losses.add(round(float(sums["loss"] / sums["weight"]), 5))
    assert len(losses) == 4


def test_the_plans_own_batch_is_left_as_it_is(plan):
    before = plan.batch(0)
    counted = CountedPads(plan, in_loss=True, in_attention=True)
    counted.batch(0)
    after = plan.batch(0)
    assert before.keys() == after.keys() and counted.shapes == plan.shapes
    assert all(np.array_equal(before[key], after[key]) for key in before)
