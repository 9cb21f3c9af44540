"""The objective of distillation on whole models: its numbers, what a batch brings, slices; the teacher left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.optim.sections import TeachingSettings
from t5x_lite.train.distil_step import LABEL_WEIGHTS, TEACHER, distil_sums, distillation, word_of
from t5x_lite.train.state import init_state
from t5x_lite.train.update import make_update

VOCAB = 13
LOSS = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=3)


def model(width):
    config = T5Config(
        vocab_size=VOCAB, d_model=width, d_kv=4, d_ff=8, num_encoder_layers=1, num_decoder_layers=1,
        num_heads=1, tie_word_embeddings=True, scale_decoder_outputs=True, dropout_rate=0.0,
    )  # fmt: skip
    t5 = T5(config, Execution())
    return t5, jax.jit(lambda key: init_params(t5, key))(jax.random.key(width))


def teaching(**changed):
    fields = {"teacher_weight": 0.6, "kind": "forward_kl", "beta": 0.5, "temperature": 2.0}
    return TeachingSettings(**{**fields, "top_k": 0, **changed})


@pytest.fixture(scope="module")
def setting():
    """Student and teacher with their parameters, and a batch of four rows of other lengths, of which one is empty."""
    rng = np.random.default_rng(0)
    lengths = np.array([5, 2, 4, 0])
    targets = rng.integers(2, VOCAB, (4, 5)).astype(np.int32)
    counts = np.arange(5)[None] < lengths[:, None]
    targets = np.where(counts, targets, 0).astype(np.int32)
    batch = {
        "encoder_input_tokens": rng.integers(2, VOCAB, (4, 6)).astype(np.int32),
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": counts.astype(np.float32),
    }
    return model(4), model(8), jax.tree.map(jnp.asarray, batch)


def logits_of(t5, params, batch):
    inputs = batch["encoder_input_tokens"], batch["decoder_input_tokens"]
    return np.asarray(jax.jit(t5.apply)({"params": params}, *inputs), np.float64)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_the_loss_is_that_of_both_models_logits(setting):
    (student, params), (teacher, theirs), batch = setting
    objective = distillation(student, teacher, LOSS, teaching())
    sums = jax.jit(objective.sums)(params, {}, {**batch, TEACHER: theirs}, None)
    ours, said = (logits_of(*each, batch) for each in setting[:2])
    p, q = log_softmax(said / 2), log_softmax(ours / 2)
    weights = np.asarray(batch["decoder_loss_weights"])
    apart = ((np.exp(p) * (p - q)).sum(-1) * weights).sum()
    targets = np.asarray(batch["decoder_target_tokens"])[..., None]
    nll = -(np.take_along_axis(log_softmax(ours), targets, -1)[..., 0] * weights).sum()
    metrics = objective.metrics(sums, objective.weight(batch))
    assert float(metrics["tokens"]) == 11
    assert float(metrics["divergence"]) == pytest.approx(apart / 11, rel=1e-5)
    assert float(metrics["nll"]) == pytest.approx(nll / 11, rel=1e-5)
    wanted = (0.6 * 4 * apart + 0.4 * nll) / 11
    assert float(metrics["loss"]) == pytest.approx(wanted, rel=1e-5)


def test_a_word_that_was_kept_is_as_one_that_is_asked_for(setting):
    (student, params), (teacher, theirs), batch = setting
    settings = teaching(top_k=4)
    word = jax.jit(lambda params, batch: word_of(teacher, params, batch, settings, 2))(
        theirs, batch
    )
    assert {name: array.shape for name, array in word.items()} == {
        "teacher_tokens": (4, 5, 4),
        "teacher_logprobs": (4, 5, 5),
    }
    sums = jax.jit(
        lambda batch: distil_sums(student, teacher, params, {}, batch, None, (LOSS, settings))
    )
    kept, asked = sums({**batch, **word}), sums({**batch, TEACHER: theirs})
    for name in asked:
        assert float(kept[name]) == pytest.approx(float(asked[name]), rel=1e-5)


def test_the_teacher_gets_no_gradient_and_stays_in_every_slice(setting):
    """A step in two slices is the step of the whole batch, and the teacher's own arrays come out as they went in."""
    (student, params), (teacher, theirs), batch = setting
    objective = distillation(student, teacher, LOSS, teaching(kind="jsd"))
    before = jax.tree.map(np.array, theirs)
    optimizer, schedule = optax.sgd(0.1), optax.constant_schedule(0.1)
    given = {**batch, LABEL_WEIGHTS: batch["decoder_loss_weights"], TEACHER: theirs}
    states = []
    for accumulation in (1, 2):
        step = make_update(objective, optimizer, schedule, accumulation=accumulation)
        state, metrics = jax.jit(step)(init_state(params, optimizer), given, jax.random.key(0))
        assert float(metrics["grad_norm"]) > 0
        states.append(state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *states)
    gradient = jax.jit(
        jax.grad(
            lambda theirs: objective.sums(params, {}, {**batch, TEACHER: theirs}, None)["loss"]
        )
    )(theirs)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    jax.tree.map(np.testing.assert_array_equal, theirs, before)
