"""Chunked cross-entropy against full logits: in float64, in torch, by jax.grad, and in what the compiler allocates."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from t5x_lite.optim.losses import LossSettings, cross_entropy_sums

BATCH, LENGTH, EMBED, VOCAB = 2, 7, 5, 11


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(EMBED, VOCAB)).astype(np.float32)
    hidden = rng.normal(size=(BATCH, LENGTH, EMBED)).astype(np.float32)
    targets = rng.integers(0, VOCAB, (BATCH, LENGTH)).astype(np.int32)
    # Some tokens are the likeliest, or `correct` would be tested at almost 0.
    targets[0] = (hidden @ kernel).argmax(-1)[0]
    weights = rng.random((BATCH, LENGTH)).astype(np.float32)
    weights[1, 3:] = 0
    weights[0, 0] = 0
    return kernel, hidden, targets, weights


def project(kernel, hidden):
    return jnp.matmul(hidden, kernel)


def float64_sums(kernel, hidden, targets, weights, settings):
    logits = hidden.astype(np.float64) @ kernel.astype(np.float64)
    log_z = np.log(np.exp(logits).sum(-1))
    logprobs = logits - log_z[..., None]
    nll = -np.take_along_axis(logprobs, targets[..., None], -1)[..., 0]
    smoothing = settings.label_smoothing
    loss = (1 - smoothing) * nll - smoothing * logprobs.mean(-1) + settings.z_loss * log_z**2
    return {
        "loss": (loss * weights).sum(),
        "nll": (nll * weights).sum(),
        "correct": ((logits.argmax(-1) == targets) * weights).sum(),
        "weight": weights.sum(dtype=np.float64),
    }


def naive_loss(kernel, hidden, targets, weights, settings):
    logprobs = jax.nn.log_softmax(project(kernel, hidden))
    one_hot = jax.nn.one_hot(targets, VOCAB)
    smoothed = (1 - settings.label_smoothing) * one_hot + settings.label_smoothing / VOCAB
    log_z = jax.nn.logsumexp(project(kernel, hidden), axis=-1)
    return jnp.sum((-(smoothed * logprobs).sum(-1) + settings.z_loss * log_z**2) * weights)


SETTINGS = [
    LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0),
    LossSettings(label_smoothing=0.1, z_loss=0.0, chunk=3),  # does not divide the length
    LossSettings(label_smoothing=0.0, z_loss=1e-2, chunk=1),
    LossSettings(label_smoothing=0.2, z_loss=1e-2, chunk=4),
    LossSettings(label_smoothing=0.1, z_loss=1e-3, chunk=50),  # longer than the length
]


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_sums_and_gradients_equal_those_of_full_logits(settings):
    kernel, hidden, targets, weights = inputs()

    @jax.jit
    def run(kernel, hidden):
        def ours(kernel, hidden):
            sums = cross_entropy_sums(project, kernel, hidden, targets, weights, settings)
            return 3.0 * sums[
                "loss"
            ], sums  # a factor, since the cotangent has to reach both gradients

        def naive(kernel, hidden):
            return 3.0 * naive_loss(kernel, hidden, targets, weights, settings)

        plain = cross_entropy_sums(project, kernel, hidden, targets, weights, settings)
        gradients, sums = jax.grad(ours, (0, 1), has_aux=True)(kernel, hidden)
        return plain, sums, gradients, jax.grad(naive, (0, 1))(kernel, hidden)

    plain, sums, gradients, expected_gradients = run(kernel, hidden)
    expected = float64_sums(kernel, hidden, targets, weights, settings)
    assert sums.keys() == plain.keys() == expected.keys()
    assert 0 < expected["correct"] < expected["weight"]
    for name, value in expected.items():
        np.testing.assert_allclose(sums[name], value, rtol=2e-6, err_msg=name)
        np.testing.assert_array_equal(sums[name], plain[name])  # with and without a derivative
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.1, 0.0), (0.3, 1e-2)])
def test_label_smoothing_and_z_loss_equal_torch(smoothing, z_loss):
    kernel, hidden, targets, weights = inputs(seed=1)
    settings = LossSettings(label_smoothing=smoothing, z_loss=z_loss, chunk=2)
    loss, gradients = jax.jit(
        jax.value_and_grad(
            lambda kernel, hidden: cross_entropy_sums(
                project, kernel, hidden, targets, weights, settings
            )["loss"],
            (0, 1),
        )
    )(kernel, hidden)

    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (kernel, hidden)]
    logits = leaves[1] @ leaves[0]
    expected = torch.nn.functional.cross_entropy(
        logits.reshape(-1, VOCAB),
        torch.tensor(targets.reshape(-1)).long(),
        label_smoothing=smoothing,
        reduction="none",
    )
    expected = expected + z_loss * logits.reshape(-1, VOCAB).logsumexp(-1) ** 2
    expected = (expected * torch.tensor(weights.reshape(-1))).sum()
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=2e-6)
    for ours, leaf in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_large_logits_stay_finite():
    kernel, hidden, targets, weights = inputs()
    settings = LossSettings(label_smoothing=0.1, z_loss=0.0, chunk=3)
    large = np.float32(300)
    loss, gradient = jax.jit(
        jax.value_and_grad(
            lambda hidden: cross_entropy_sums(project, kernel, hidden, targets, weights, settings)[
                "loss"
            ]
        )
    )(hidden * large)
    expected = float64_sums(kernel, hidden, targets, weights, settings)
    assert np.isfinite(loss) and loss > expected["loss"]
    assert np.isfinite(gradient).all()


def test_bfloat16_operands_get_bfloat16_gradients():
    kernel, hidden, targets, weights = inputs()
    settings = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=3)

    def loss(kernel, hidden):
        return cross_entropy_sums(
            lambda kernel, hidden: project(kernel, hidden).astype(jnp.float32),
            kernel,
            hidden,
            targets,
            weights,
            settings,
        )["loss"]

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    rounded = gradient(kernel.astype(jnp.bfloat16), hidden.astype(jnp.bfloat16))
    for ours, exact in zip(rounded, gradient(kernel, hidden), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(np.float32), exact, atol=0.05 * np.abs(exact).max())


def test_no_buffer_of_all_logits_when_chunked():
    """Of the compiled value and gradient: every array in it, against [batch, length, vocab]."""
    batch, length, embed, vocab = 2, 24, 3, 1013
    shapes = [((embed, vocab), np.float32), ((batch, length, embed), np.float32)]
    shapes += [((batch, length), np.int32), ((batch, length), np.float32)]
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]

    def largest_array(chunk):
        settings = LossSettings(label_smoothing=0.1, z_loss=1e-4, chunk=chunk)

        def loss(kernel, hidden, targets, weights):
            return cross_entropy_sums(project, kernel, hidden, targets, weights, settings)["loss"]

        compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arguments).compile()
        dimensions = re.findall(r"\w+\[([\d,]+)\]", compiled.as_text())
        return max(math.prod(map(int, text.split(","))) for text in dimensions)

    assert largest_array(0) >= batch * length * vocab
    assert largest_array(5) <= batch * 5 * vocab
