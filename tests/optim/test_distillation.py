"""Divergences of student and teacher against torch, by hand, at their limits, and in what is never held."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from t5x_lite.optim.distillation import Said, distillation_sums, divergence, say, told_apart
from t5x_lite.optim.losses import LossSettings, cross_entropy_sums
from t5x_lite.optim.sections import TeachingSettings

BATCH, LENGTH, EMBED, VOCAB = 2, 7, 5, 11
KINDS = ("forward_kl", "reverse_kl", "jsd")
PLAIN = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)


def teaching(kind="forward_kl", temperature=1.0, top_k=0, weight=1.0, beta=0.3):
    return TeachingSettings(
        teacher_weight=weight, kind=kind, beta=beta, temperature=temperature, top_k=top_k
    )


def project(kernel, hidden):
    return jnp.matmul(hidden, kernel)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    weights = np.ones((BATCH, LENGTH), np.float32)
    weights[1, 3:] = 0
    positions = {
        "hidden": rng.normal(size=(BATCH, LENGTH, EMBED)).astype(np.float32),
        "targets": rng.integers(0, VOCAB, (BATCH, LENGTH)).astype(np.int32),
        "weights": weights,
        "label_weights": weights,
        "teacher": 2 * rng.normal(size=(BATCH, LENGTH, VOCAB)).astype(np.float32),
    }
    return rng.normal(size=(EMBED, VOCAB)).astype(np.float32), positions


def sums_of(kernel, positions, loss, settings):
    return distillation_sums(
        project, kernel, positions, lambda piece: say(piece["teacher"], settings), loss, settings
    )


def in_torch(teacher, student, settings):
    """By torch.nn.functional.kl_div, whose first argument is the approximation."""
    p, q = (
        torch.log_softmax(logits / settings.temperature, -1)
        for logits in (torch.as_tensor(teacher, dtype=torch.float64), student)
    )

    def kl(to, by):
        return torch.nn.functional.kl_div(by, to, reduction="none", log_target=True).sum(-1)

    if settings.kind == "forward_kl":
        return kl(p, q)
    if settings.kind == "reverse_kl":
        return kl(q, p)
    m = (settings.beta * p.exp() + (1 - settings.beta) * q.exp()).log()
    return settings.beta * kl(p, m) + (1 - settings.beta) * kl(q, m)


@pytest.mark.parametrize("chunk", [0, 3])  # 3 does not divide the length
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_torchs(kind, chunk):
    kernel, positions = inputs()
    settings = teaching(kind, temperature=2.0, weight=0.7)
    loss = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=chunk)
    ours = jax.jit(
        jax.value_and_grad(
            lambda kernel, hidden: sums_of(kernel, {**positions, "hidden": hidden}, loss, settings)[
                "loss"
            ],
            argnums=(0, 1),
        )
    )
    value, gradients = ours(kernel, positions["hidden"])

    variables = [
        torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for x in (kernel, positions["hidden"])
    ]
    logits = variables[1] @ variables[0]
    weights = torch.tensor(positions["weights"], dtype=torch.float64)
    targets = torch.tensor(positions["targets"]).long()
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    apart = 4.0 * in_torch(positions["teacher"], logits, settings)  # the temperature's square
    wanted = ((0.7 * apart + 0.3 * nll) * weights).sum()
    wanted.backward()
    assert float(value) == pytest.approx(wanted.item(), rel=1e-5)
    for found, variable in zip(gradients, variables, strict=True):
        np.testing.assert_allclose(found, variable.grad, rtol=2e-4, atol=2e-5)


def test_two_outcomes_by_hand():
    teacher, student = jnp.log(jnp.array([0.75, 0.25])), jnp.log(jnp.array([0.5, 0.5]))
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(divergence(teacher, student, teaching())) == pytest.approx(forward, rel=1e-5)
    found = divergence(teacher, student, teaching("reverse_kl"))
    assert float(found) == pytest.approx(reverse, rel=1e-5)
    # m = 0.5 * teacher + 0.5 * student
    m = (0.625, 0.375)
    both = [
        sum(p * math.log(p / q) for p, q in zip(side, m, strict=True))
        for side in ((0.75, 0.25), (0.5, 0.5))
    ]
    found = divergence(teacher, student, teaching("jsd", beta=0.5))
    assert float(found) == pytest.approx(sum(both) / 2, rel=1e-4)


def test_a_temperature_divides_the_logits():
    logits = np.array([[2.0, 0.0, -4.0]], np.float32)
    said = say(logits, teaching(temperature=2.0))
    assert said.tokens is None
    np.testing.assert_allclose(
        said.logprobs, jax.nn.log_softmax(np.array([[1.0, 0.0, -2.0]])), rtol=1e-5
    )


def test_all_tokens_told_apart_are_the_full_divergence():
    """In value and gradient; a larger k than there are tokens is all of them; fewer tokens tell less."""
    rng = np.random.default_rng(1)
    teacher, student = (2 * rng.normal(size=(3, VOCAB)).astype(np.float32) for _ in range(2))

    @functools.partial(jax.jit, static_argnames="top_k")
    def of(top_k):
        def values(student):
            said = say(jnp.asarray(teacher), teaching(top_k=top_k))
            logprobs = jax.nn.log_softmax(student)
            if said.tokens is not None:
                logprobs = told_apart(logprobs, said.tokens)
            found = [divergence(said.logprobs, logprobs, teaching(kind)) for kind in KINDS]
            return jnp.stack(found).sum(axis=1)

        return values(student), jax.jacrev(values)(student)

    full, gradient = of(0)
    for k in (VOCAB, VOCAB + 5):
        found, by_student = of(k)
        np.testing.assert_allclose(found, full, rtol=1e-5)
        np.testing.assert_allclose(by_student, gradient, rtol=1e-4, atol=1e-5)
    least, most = of(1)[0], of(6)[0]
    assert np.all(least > 0) and np.all(least < most) and np.all(most < full)


def test_the_other_tokens_are_one_outcome():
    logprobs = jnp.log(jnp.array([0.5, 0.1, 0.3, 0.1]))
    tokens = jnp.array([2, 0])
    np.testing.assert_allclose(jnp.exp(told_apart(logprobs, tokens)), [0.3, 0.5, 0.2], rtol=1e-5)
    said = say(logprobs[None], teaching(top_k=2))
    np.testing.assert_array_equal(said.tokens, [[0, 2]])
    # What is left of a teacher that is sure is no rounding error.
    sure = say(jnp.array([[30.0, 0.0, 0.0, 0.0]]), teaching(top_k=1))
    assert float(sure.logprobs[0, -1]) == pytest.approx(math.log(3) - 30, rel=1e-4)


def test_pads_and_own_texts_weigh_nothing():
    kernel, positions = inputs(2)
    settings = teaching(weight=0.5)
    before = sums_of(kernel, positions, PLAIN, settings)
    changed = {name: array.copy() for name, array in positions.items()}
    for name in ("hidden", "teacher"):
        changed[name][1, 3:] += 7.0
    changed["targets"][1, 3:] = 0
    after = sums_of(kernel, changed, PLAIN, settings)
    for name in before:
        assert float(after[name]) == float(before[name])
    # Without a label only the teacher's part is left, and what is told of the texts stays.
    own = {**positions, "label_weights": np.zeros_like(positions["weights"])}
    sums = sums_of(kernel, own, PLAIN, settings)
    assert float(sums["loss"]) == pytest.approx(0.5 * float(before["divergence"]), rel=1e-6)
    assert float(sums["nll"]) == float(before["nll"]) > 0


def test_without_a_teacher_it_is_the_cross_entropy():
    kernel, positions = inputs(3)
    loss = LossSettings(label_smoothing=0.1, z_loss=1e-2, chunk=2)
    ours = sums_of(kernel, positions, loss, teaching(weight=0.0))
    wanted = cross_entropy_sums(
        project, kernel, *(positions[n] for n in ("hidden", "targets", "weights")), loss
    )
    for name in wanted:
        assert float(ours[name]) == pytest.approx(float(wanted[name]), rel=1e-5)


def test_no_logits_of_a_whole_batch_exist():
    """Neither of the student nor, told by its hidden states, of the teacher: in the gradient's whole program."""
    kernel, positions = inputs()
    positions["teacher"] = positions["hidden"]
    loss = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=2)

    def value(hidden):
        settings = teaching(top_k=3)

        def said(piece):
            return say(project(kernel, piece["teacher"]), settings)

        given = {**positions, "hidden": hidden}
        return distillation_sums(project, kernel, given, said, loss, settings)["loss"]

    program = str(jax.make_jaxpr(jax.grad(value))(positions["hidden"]))
    assert f"f32[{BATCH},2,{VOCAB}]" in program
    # As they are, or in chunks one after the other (of which the last is filled up).
    assert f"[{BATCH},{LENGTH},{VOCAB}]" not in program
    assert f"[4,{BATCH},2,{VOCAB}]" not in program


def test_the_teachers_word_gets_no_gradient():
    kernel, positions = inputs()
    by_teacher = jax.grad(
        lambda teacher: distillation_sums(
            project,
            kernel,
            {**positions, "teacher": teacher},
            lambda piece: Said(None, jax.nn.log_softmax(piece["teacher"])),
            PLAIN,
            teaching("jsd"),
        )["loss"]
    )(positions["teacher"])
    assert not np.any(by_teacher)
