"""DPO: loss and gradient against torch, written from the formula; the reference; what the settings refuse."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.data.preferences import PairPlan
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.trainable import partition_optimizer
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.partition import join, label, resolve_rules
from t5x_lite.rl.dpo import DPOSettings, dpo_losses, dpo_sums, make_dpo_step, means, pair_logprobs
from t5x_lite.train.state import init_state

CONFIG = T5Config(
    vocab_size=16, d_model=16, d_kv=8, d_ff=32, num_encoder_layers=1, num_decoder_layers=1,
    num_heads=2, tie_word_embeddings=False, scale_decoder_outputs=False, dropout_rate=0.1,
)  # fmt: skip
MODEL = T5(CONFIG, Execution())
SIGMOID = DPOSettings("sigmoid", 0.3, 0.0, 0)


def ragged(rng, rows, shortest, longest):
    lengths = rng.integers(shortest, longest + 1, rows)
    return Ragged.from_lists([[*rng.integers(2, 16, n - 1).tolist(), 1] for n in lengths])


@pytest.fixture(scope="module")
def params():
    return init_params(MODEL, jax.random.key(0))


def make_pairs(rows=6, size=4, seed=None):
    """Pairs of ragged responses; the last batch of an odd number is filled up."""
    rng = np.random.default_rng(0)
    prompts, good, bad = (ragged(rng, rows, 2, longest) for longest in (7, 5, 6))

    def make(examples):
        shapes = make_shapes([(8, 6)], size=size, tokens=0, row_multiple=1)
        return Plan(examples, shapes, seed=seed, pack=False, pad_id=0, decoder_start_id=0)

    reference = rng.normal(size=(rows, 2)) - 10
    return PairPlan(Examples(prompts, good), Examples(prompts, bad), make, reference)


def on_device(batch):
    return {name: jnp.asarray(values) for name, values in batch.items()}


def test_a_batch_holds_both_responses_and_their_reference():
    pairs = make_pairs(rows=6, size=4)
    batch, rows = pairs.batch(1), pairs.indices(1)
    assert rows.tolist() == [4, 5, -1, -1]
    for at, row in enumerate(rows[:2]):
        chosen, rejected = (side.decoder_target_tokens[row] for side in pairs._sides)
        for prefix, tokens in (("decoder", chosen), ("rejected", rejected)):
            np.testing.assert_array_equal(
                batch[f"{prefix}_target_tokens"][at, : len(tokens)], tokens
            )
            np.testing.assert_array_equal(
                batch[f"{prefix}_input_tokens"][at, : len(tokens)], [0, *tokens[:-1]]
            )
            assert batch[f"{prefix}_loss_weights"][at].sum() == len(tokens)
        both = batch["reference_chosen"][at], batch["reference_rejected"][at]
        np.testing.assert_allclose(both, pairs.reference[row], rtol=1e-6)
    assert not batch["decoder_loss_weights"][2:].any() and not batch["reference_chosen"][2:].any()


@pytest.mark.parametrize("chunk", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_log_probabilities_are_those_of_the_whole_model(params, chunk):
    """The prompt is encoded once for both; against each response fed through the whole model, token by token."""
    batch = on_device(make_pairs().batch(0))
    ours = pair_logprobs(MODEL, params, None, batch, None, chunk)
    for got, side in zip(ours, ("decoder", "rejected"), strict=True):
        logits = MODEL.apply(
            {"params": params}, batch["encoder_input_tokens"], batch[f"{side}_input_tokens"]
        )
        logs = np.asarray(jax.nn.log_softmax(logits))
        for row in range(4):
            count = int(batch[f"{side}_loss_weights"][row].sum())
            targets = batch[f"{side}_target_tokens"][row]
            slow = sum(logs[row, t, int(targets[t])] for t in range(count))
            assert math.isclose(got[row], slow, rel_tol=1e-5)


SETTINGS = [
    SIGMOID,
    DPOSettings("sigmoid", 0.1, 0.2, 0),
    DPOSettings("ipo", 0.5, 0.0, 0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.kind}-{s.label_smoothing}")
def test_loss_and_gradient_against_torch(settings):
    """Both by the logits of policy and reference, from Rafailov et al. (7), Mitchell (2023) and Azar et al. (17)."""
    import torch

    rng = np.random.default_rng(1)
    rows, length, vocab = 5, 4, 7
    logits, frozen = (rng.normal(size=(2, rows, length, vocab)) for _ in range(2))
    targets = rng.integers(0, vocab, (2, rows, length))
    counts = rng.integers(1, length + 1, (2, rows))

    def slow(logits):
        total = 0.0
        for row in range(rows):
            ratio = []
            for side in range(2):
                difference = 0.0
                for t in range(counts[side, row]):
                    token = targets[side, row, t]
                    ours = torch.log_softmax(logits[side, row, t], 0)[token]
                    theirs = torch.log_softmax(torch.tensor(frozen[side, row, t]), 0)[token]
                    difference = difference + ours - theirs
                ratio.append(difference)
            h = ratio[0] - ratio[1]
            if settings.kind == "ipo":
                loss = (h - 1 / (2 * settings.beta)) ** 2
            else:
                right = torch.log(torch.sigmoid(settings.beta * h))
                wrong = torch.log(torch.sigmoid(-settings.beta * h))
                s = settings.label_smoothing
                loss = -(1 - s) * right - s * wrong
            total = total + loss
        return total / rows

    def fast(logits):
        inside = np.arange(length) < counts[..., None]

        def logprobs(values):
            logs = jax.nn.log_softmax(values)
            picked = jnp.take_along_axis(logs, jnp.asarray(targets)[..., None], -1)[..., 0]
            return (picked * inside).sum(-1)

        chosen, rejected = logprobs(logits) - logprobs(jnp.asarray(frozen))
        return dpo_losses(chosen - rejected, settings).mean()

    given = torch.tensor(logits, requires_grad=True)
    expected = slow(given)
    expected.backward()
    value, gradient = jax.value_and_grad(fast)(jnp.asarray(logits, jnp.float32))
    assert math.isclose(value, expected.item(), rel_tol=1e-5)
    np.testing.assert_allclose(gradient, given.grad.numpy(), atol=1e-5)


def test_before_the_first_step_the_policy_is_the_reference(params):
    """Loss log 2, margin 0, every pair a tie, half right; a row that fills the batch counts nowhere."""
    batch = on_device(make_pairs(rows=6, size=4).batch(1))
    chosen, rejected = pair_logprobs(MODEL, params, None, batch, None, 0)
    batch |= {"reference_chosen": chosen, "reference_rejected": rejected}
    sums = dpo_sums(MODEL, params, None, batch, None, SIGMOID)
    assert sums["weight"] == 2
    found = {name: float(value) for name, value in means(sums).items()}
    assert math.isclose(found.pop("loss"), math.log(2), rel_tol=1e-6)
    assert found.pop("accuracy") == 0.5
    assert found == dict.fromkeys(("margin", "rewards/chosen", "rewards/rejected"), 0.0)


@pytest.mark.slow
def test_the_gradient_pulls_the_responses_apart(params):
    """By a small step against it, the chosen response gains on the rejected one."""
    batch = on_device(make_pairs().batch(0))

    def h(params):
        chosen, rejected = pair_logprobs(MODEL, params, None, batch, None, 0)
        return float(jnp.mean(chosen - rejected))

    gradient = jax.grad(lambda p: dpo_sums(MODEL, p, None, batch, None, SIGMOID)["loss"])(params)
    moved = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
    assert h(moved) > h(params)


@pytest.fixture(scope="module")
def lora(params):
    settings = LoraSettings(
        targets=((".*/(query|value|out|wi|wo)", 4),),
        alpha=2.0,
        dropout=0.0,
        rslora=False,
        dora=False,
    )
    return settings.init(params, jax.random.key(1))


@pytest.mark.parametrize(
    ("dropout", "adapted"),
    [
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in itertools.product((False, True), repeat=2)
        ),
    ],
)
def test_it_learns_tiny_pairs_and_leaves_the_base_alone(params, lora, adapted, dropout):
    adapters = lora if adapted else {}
    labels = None
    optimizer = optax.adam(2e-2)
    if adapted:
        labels = label(resolve_rules("adapters", "here"), join(params, adapters), "here")
        optimizer = partition_optimizer(optimizer, labels)
    pairs = make_pairs(rows=4)
    batch = on_device(pairs.batch(0))
    chosen, rejected = pair_logprobs(MODEL, params, adapters or None, batch, None, 0)
    batch |= {"reference_chosen": chosen, "reference_rejected": rejected}
    step = jax.jit(
        make_dpo_step(MODEL, optimizer, lambda step: 2e-2, SIGMOID, dropout=dropout, labels=labels)
    )
    state = init_state(params, optimizer, adapters)
    key = jax.random.key(0)
    metrics = []
    for _ in range(40):
        state, found = step(state, batch, key)
        metrics.append({name: float(value) for name, value in found.items()})
    first = metrics[0]
    last = means(dpo_sums(MODEL, state.params, state.adapters or None, batch, None, SIGMOID))
    if not dropout:
        assert (
            math.isclose(first["loss"], math.log(2), rel_tol=1e-5) and abs(first["margin"]) < 1e-5
        )
    assert last["loss"] < 0.4 and last["accuracy"] == 1 and last["margin"] > 0.5
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state.params, params)
    assert all(jax.tree.leaves(same)) == adapted


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_slices_of_a_batch_learn_what_the_whole_does(params, accumulation):
    """Its references are a number a row, not a token."""
    batch = on_device(make_pairs(rows=4).batch(0))
    batch |= {
        "reference_chosen": -jnp.arange(4.0),
        "reference_rejected": -jnp.array([3.0, 1.0, 1, 2]),
    }
    optimizer = optax.sgd(0.1)
    (one, of_one), (several, of_several) = (
        jax.jit(
            make_dpo_step(
                MODEL, optimizer, lambda step: 0.1, SIGMOID, dropout=False, labels=None,
                accumulation=slices,
            )
        )(init_state(params, optimizer), batch, jax.random.key(0))
        for slices in (1, accumulation)
    )  # fmt: skip
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        one.params,
        several.params,
    )
    for name, value in of_one.items():
        assert of_several[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def test_a_step_that_is_not_finite_changes_nothing(params):
    batch = on_device(make_pairs(rows=4).batch(0))
    batch["reference_chosen"] = batch["reference_chosen"].at[1].set(jnp.nan)
    optimizer = optax.adam(1e-2)
    state = init_state(params, optimizer)
    step = make_dpo_step(MODEL, optimizer, lambda s: 1e-2, SIGMOID, dropout=False, labels=None)
    new, metrics = step(state, batch, jax.random.key(0))
    assert metrics["skipped"] == 1 and new.step == 1
    jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


@pytest.mark.parametrize(
    "values, message",
    [
        (("hinge", 0.1, 0.0, 0), "loss.kind must be one of 'sigmoid', 'ipo'"),
        (("sigmoid", 0.0, 0.0, 0), "loss.beta must be a number > 0"),
        (("sigmoid", 0.1, 0.5, 0), "loss.label_smoothing must be a number >= 0 and < 0.5"),
        (("ipo", 0.1, 0.1, 0), "set it to 0 for 'ipo'"),
    ],
)
def test_settings_that_contradict_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        DPOSettings(*values)
